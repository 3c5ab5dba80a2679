package cache

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"builder/internal/sys"
)

// run is a time during which what is written stays readable even if it is not on
// the disk: from the start of the machine, or of the mount, to its end.
type run struct {
	Boot       string
	FileSystem string
}

// Stamp says when something was written to the cache's file system.
type Stamp struct {
	Boot       string        // of the machine
	FileSystem string        // as it is mounted
	At         time.Duration // since the machine was started
}

func thisRun(dir string) (run, error) {
	boot, err1 := sys.BootID()
	fsid, err2 := sys.FileSystemID(dir)
	return run{boot, fsid}, errors.Join(err1, err2)
}

// Stamp returns the stamp of something that has just been written.
func (c *Cache) Stamp() (Stamp, error) {
	r, err := c.run()
	if err != nil {
		return Stamp{}, err
	}
	at, err := sys.SinceBoot()
	return Stamp{r.Boot, r.FileSystem, at}, err
}

// Trusted reports whether what was written before a stamp is whole: it was
// written in this run, or is below the watermark of its own.
func (c *Cache) Trusted(s Stamp) (bool, error) {
	now, err := c.run()
	if err != nil {
		return false, err
	}
	then := run{s.Boot, s.FileSystem}
	if then == now {
		return true, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The marks of runs that are over do not move any more.
	if c.marks == nil {
		if c.marks, err = c.readMarks(); err != nil {
			return false, err
		}
	}
	mark, ok := c.marks[then]
	return ok && s.At <= mark.At, nil
}

// Sync writes all that is pending on the cache's file system to its disk, and
// moves the watermark: what was written before the call is trusted from now on,
// whatever happens to the machine.
func (c *Cache) Sync(ctx context.Context) error {
	if err := c.sync(ctx); err != nil {
		return fmt.Errorf("sync cache: %w", err)
	}
	return nil
}

func (c *Cache) sync(ctx context.Context) (err error) {
	stamp, err := c.Stamp()
	if err != nil {
		return err
	}
	dir, err := os.Open(c.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := sys.SyncFS(dir); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(c.dir, "watermarks.lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	// Held by others for as long as this: reading and writing one small file.
	if err := sys.Lock(lock); err != nil {
		return err
	}
	marks, err := c.readMarks()
	if err != nil {
		return err
	}
	this := run{stamp.Boot, stamp.FileSystem}
	marks[this] = mark{max(marks[this].At, stamp.At), time.Now().Unix()}
	return c.writeMarks(marks)
}

const (
	marksMagic = "builder watermarks 1\n"
	// maxMarks is for how many runs the watermark is kept. What was written in
	// one before these is verified when it is used.
	maxMarks = 256
)

// mark is how far a run is known to be on the disk.
type mark struct {
	At    time.Duration // since the machine was started
	Moved int64         // when that became known, in seconds since 1970
}

func (c *Cache) marksPath() string { return filepath.Join(c.dir, "watermarks") }

func (c *Cache) readMarks() (map[run]mark, error) {
	data, _, err := readFile(c.marksPath(), 1<<20)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	marks, _ := decodeMarks(data)
	return marks, nil
}

// writeMarks replaces the watermarks. It may wait for the disk: Sync does
// anyway.
func (c *Cache) writeMarks(marks map[run]mark) error {
	data := encodeMarks(marks)
	temp, err := c.writeTemp(data)
	if err != nil {
		return err
	}
	f, err := os.Open(temp)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(temp, c.marksPath())
}

// encodeMarks keeps the marks of the runs that were last.
func encodeMarks(marks map[run]mark) []byte {
	runs := slices.SortedFunc(maps.Keys(marks), func(a, b run) int {
		return cmp.Or(cmp.Compare(marks[b].Moved, marks[a].Moved), cmp.Compare(a.Boot, b.Boot), cmp.Compare(a.FileSystem, b.FileSystem))
	})
	runs = runs[:min(len(runs), maxMarks)]
	var b bytes.Buffer
	b.WriteString(marksMagic)
	for _, r := range runs {
		fmt.Fprintf(&b, "%s %s %d %d\n", r.Boot, r.FileSystem, marks[r].At.Nanoseconds(), marks[r].Moved)
	}
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	return b.Bytes()
}

// decodeMarks parses what encodeMarks returned; of anything else it makes no
// marks.
func decodeMarks(data []byte) (map[run]mark, bool) {
	marks := map[run]mark{}
	body, ok := checked(data, marksMagic)
	if !ok {
		return marks, false
	}
	for line := range strings.Lines(string(body)) {
		var r run
		var m mark
		if _, err := fmt.Sscanf(line, "%s %s %d %d\n", &r.Boot, &r.FileSystem, &m.At, &m.Moved); err != nil {
			return map[run]mark{}, false
		}
		marks[r] = m
	}
	return marks, true
}
