package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"builder/internal/sys"
)

// MountSpec names a directory that steps keep from build to build.
type MountSpec struct {
	// ID is its name. Directories that begin with something else are others: Begin
	// says with what, as a text, empty for nothing.
	ID, Begin string
	// Alone says that nobody else uses it at the same time. Then who comes later waits,
	// or with Wait unset gets another directory, which is kept as well.
	Alone, Wait bool
}

// Mount is such a directory in use.
type Mount struct {
	c    *Cache
	dir  string
	lock *os.File
	// Fresh says that the directory was made just now.
	Fresh bool

	saw *Ledger // what the step sees, as it was written down
}

const (
	mountsName = "mounts"
	dataName   = "data"
	idName     = "id"
)

// hash names the directory of a spec.
func (s MountSpec) hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "cache mount\x00%d:%s%d:%s", len(s.ID), s.ID, len(s.Begin), s.Begin)
	return hex.EncodeToString(h.Sum(nil))
}

// Mount takes the directory that a spec names, made where it is not here: then
// fill writes what it begins with; it may be nil. waiting is called once before
// it waits, if it has to; it may be nil. The directory is in use until [Mount.Close],
// or until the process ends.
func (c *Cache) Mount(ctx context.Context, s MountSpec, waiting func(), fill func(dir string) error) (*Mount, error) {
	m, err := c.mount(ctx, s, waiting, fill)
	if err != nil {
		return nil, fmt.Errorf("cache %q: %w", s.ID, err)
	}
	return m, nil
}

func (c *Cache) mount(ctx context.Context, s MountSpec, waiting func(), fill func(dir string) error) (*Mount, error) {
	top := filepath.Join(c.dir, mountsName, s.hash())
	const shortest, longest = 2 * time.Millisecond, 50 * time.Millisecond
	again := false // who lists or prunes has a directory for a moment
	for pause := shortest; ; pause = min(2*pause, longest) {
		numbers, err := instances(top)
		if err != nil {
			return nil, err
		}
		for _, n := range numbers {
			m, err := c.take(filepath.Join(top, strconv.Itoa(n)), s.Alone)
			if m != nil || err != nil {
				return m, err
			}
		}
		if len(numbers) == 0 || again && (!s.Alone || !s.Wait) {
			next := 0
			if len(numbers) > 0 {
				next = numbers[len(numbers)-1] + 1
			}
			if err := c.makeMount(top, next, s, fill); err != nil {
				return nil, err
			}
			m, err := c.take(filepath.Join(top, strconv.Itoa(next)), s.Alone)
			if m != nil {
				m.Fresh = true
			}
			if m != nil || err != nil {
				return m, err
			}
			continue // another process was faster
		}
		if again && waiting != nil {
			waiting()
			waiting = nil
		}
		again = true
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// instances returns the numbers of the directories of one name, in order.
func instances(top string) ([]int, error) {
	entries, err := os.ReadDir(top)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n >= 0 && strconv.Itoa(n) == e.Name() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// take locks the directory dir. It returns nil where somebody else has it, or
// where it has gone.
func (c *Cache) take(dir string, alone bool) (*Mount, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	try := sys.TryLockShared
	if alone {
		try = sys.TryLock
	}
	ok, err := try(f)
	if err == nil && ok {
		if ok, err = isAt(f, path); err == nil && ok {
			now := time.Now()
			if err = os.Chtimes(path, now, now); err == nil {
				return &Mount{c: c, dir: dir, lock: f}, nil
			}
		}
	}
	return nil, errors.Join(err, f.Close())
}

// makeMount makes a directory of that number, unless it is there.
func (c *Cache) makeMount(top string, n int, s MountSpec, fill func(dir string) error) error {
	lease, err := c.anyLease()
	if err != nil {
		return err
	}
	made, err := os.MkdirTemp(lease.Dir(), "mount-*")
	if err != nil {
		return err
	}
	data := filepath.Join(made, dataName)
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(data, 0o755); err != nil {
		return err
	}
	if fill != nil {
		if err := fill(data); err != nil {
			return err
		}
	}
	id, err := json.Marshal(mountID{Version: 1, ID: s.ID, Begin: s.Begin})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(made, idName), append(id, '\n'), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(made, lockName), nil, 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(top, 0o700); err != nil {
		return err
	}
	err = sys.RenameNoReplace(made, filepath.Join(top, strconv.Itoa(n)))
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return nil // what is left goes with the lease
	}
	return err
}

// mountID is the file that says what a directory is.
type mountID struct {
	Version   int
	ID, Begin string
}

// Dir is the directory for a step to see.
func (m *Mount) Dir() string { return filepath.Join(m.dir, dataName) }

// Close ends the use of the directory.
func (m *Mount) Close() error { return m.lock.Close() }

// MountInfo describes a directory that steps keep.
type MountInfo struct {
	ID   string
	Dir  string // all of it
	Used time.Time
	// Active says that a step uses it.
	Active bool
}

// Mounts lists the directories that steps keep.
func (c *Cache) Mounts() ([]MountInfo, error) {
	tops, err := os.ReadDir(filepath.Join(c.dir, mountsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list cache mounts: %w", err)
	}
	var list []MountInfo
	for _, t := range tops {
		top := filepath.Join(c.dir, mountsName, t.Name())
		numbers, err := instances(top)
		if err != nil {
			return nil, fmt.Errorf("list cache mounts: %w", err)
		}
		for _, n := range numbers {
			info, ok, err := mountInfo(filepath.Join(top, strconv.Itoa(n)))
			if err != nil {
				return nil, fmt.Errorf("list cache mounts: %w", err)
			}
			if ok {
				list = append(list, info)
			}
		}
	}
	return list, nil
}

// mountInfo describes one directory; ok is false where it has gone.
func mountInfo(dir string) (info MountInfo, ok bool, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return info, false, nil
	}
	if err != nil {
		return info, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return info, false, err
	}
	info = MountInfo{Dir: dir, Used: st.ModTime()}
	free, err := sys.TryLock(f)
	if err != nil {
		return info, false, err
	}
	info.Active = !free
	data, err := os.ReadFile(filepath.Join(dir, idName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return info, false, err
	}
	var id mountID
	if json.Unmarshal(data, &id) == nil {
		info.ID = id.ID
	}
	return info, true, nil
}

// RemoveMount moves a directory that steps keep into the trash, unless a step uses
// it: then it returns false.
func (l *Lease) RemoveMount(info MountInfo) (bool, error) {
	m, err := l.c.take(info.Dir, true)
	if m == nil || err != nil {
		return false, err
	}
	err = l.Trash(info.Dir)
	if rerr := os.Remove(filepath.Dir(info.Dir)); rerr != nil && !errors.Is(rerr, fs.ErrExist) && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return true, errors.Join(err, m.Close())
}
