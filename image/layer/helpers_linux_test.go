package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// describeTree returns what a directory holds, a line for each path; names of
// one file name the first of them. Marks of an overlay are shown as they are.
func describeTree(t testing.TB, root string, times bool) map[string]string {
	t.Helper()
	lines := map[string]string{}
	names := map[inode][]string{}
	err := filepath.WalkDir(root+"/", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root+"/" {
			return err
		}
		rel := strings.TrimPrefix(path, root+"/")
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		e := Entry{}
		describe(&e, &st)
		line := fmt.Sprintf("type %d mode %o owner %d:%d device %d:%d", e.Type, e.Mode, e.UID, e.GID, e.Major, e.Minor)
		switch e.Type {
		case File:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" content %x", sha256.Sum256(data))
		case Symlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " to " + target
		}
		attrs, err := sys.Xattrs(path)
		if err != nil {
			return err
		}
		slices.Sort(attrs)
		for _, name := range attrs {
			if name == "security.selinux" || strings.HasPrefix(name, "trusted.overlay.") && name != "trusted.overlay.opaque" {
				continue
			}
			value, _, err := sys.Xattr(path, name)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %s=%q", name, value)
		}
		if e.Type != Dir && st.Nlink > 1 {
			id := inode{st.Dev, st.Ino}
			names[id] = append(names[id], rel)
		}
		if times {
			line += fmt.Sprintf(" at %d", e.Mtime)
		}
		lines[rel] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range names {
		for _, name := range group[:len(group)*min(1, len(group)-1)] {
			lines[name] += fmt.Sprintf(" as %q", slices.Min(group))
		}
	}
	return lines
}

func sameTree(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if got[path] != want[path] {
			t.Errorf("%s: %q\n got %s\nwant %s", what, path, got[path], want[path])
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %q should not be there: %s", what, path, got[path])
		}
	}
}

// fullChanges lists what makes the directory after of the directory before.
func fullChanges(before, after map[string]string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for path := range after {
			if !yield(Change{Path: path}, nil) {
				return
			}
		}
		for path := range before {
			dir, _ := split(path)
			_, there := after[path]
			parent, parentThere := after[dir]
			if there || dir != "" && (!parentThere || !strings.HasPrefix(parent, "type 1 ")) {
				continue
			}
			if !yield(Change{Path: path, Kind: Delete}, nil) {
				return
			}
		}
	}
}

// scanAll returns the index of a directory as the lowest layer.
func scanAll(t testing.TB, dir string) *Index {
	t.Helper()
	return scanOver(t, dir, fullChanges(nil, describeTree(t, dir, false)), NewStack())
}

func scanOver(t testing.TB, dir string, changes iter.Seq2[Change, error], below View) *Index {
	t.Helper()
	ix, err := Scan(t.Context(), dir, changes, below, ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := ix.check(); err != nil {
		t.Fatal(err)
	}
	return ix
}

func writeTar(t testing.TB, ix *Index, dir string, stamps ...int64) []byte {
	t.Helper()
	src, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var out bytes.Buffer
	if err := WriteTar(t.Context(), &out, ix, src, stamps); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func apply(t testing.TB, dir string, tar []byte, o ApplyOptions) *Index {
	t.Helper()
	ix, err := Apply(t.Context(), dir, bytes.NewReader(tar), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := ix.check(); err != nil {
		t.Fatal(err)
	}
	return ix
}

// opener opens files of a directory for ApplyOptions.
func opener(dir string) func(context.Context, string) (io.ReadCloser, error) {
	return func(_ context.Context, path string) (io.ReadCloser, error) { return os.Open(filepath.Join(dir, path)) }
}

// scribbler changes a tree at random. Every change sets a time that was not
// there before, so that what changed is what looks changed.
type scribbler struct {
	t    testing.TB
	r    *rand.Rand
	root string
	now  int64
	priv bool // may make devices and give files away
}

func newScribbler(t testing.TB, root string, seed uint64) *scribbler {
	return &scribbler{t: t, r: rand.New(rand.NewPCG(seed, 1)), root: root, now: 1_700_000_000, priv: os.Geteuid() == 0}
}

var scribbleNames = []string{"a", "b", "c.d", "lib", "x-y", "é", "\xff\xfe", ".wh", "wh.a", strings.Repeat("long", 40), " ", "a\nb", "__pycache__"}

func (s *scribbler) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// dirs lists the directories of the tree, the root included.
func (s *scribbler) paths(want func(fs.FileMode) bool) []string {
	var list []string
	s.check(filepath.WalkDir(s.root+"/", func(path string, d fs.DirEntry, err error) error {
		if err == nil && want(d.Type()) {
			list = append(list, strings.TrimSuffix(path, "/"))
		}
		return err
	}))
	return list
}

func (s *scribbler) pick(want func(fs.FileMode) bool) (string, bool) {
	list := s.paths(want)
	if len(list) == 0 {
		return "", false
	}
	return list[s.r.IntN(len(list))], true
}

func isDir(m fs.FileMode) bool { return m.IsDir() }
func isReg(m fs.FileMode) bool { return m.IsRegular() }

// fresh returns a path in a directory of the tree, with nothing there.
func (s *scribbler) fresh() string {
	dir, _ := s.pick(isDir)
	path := filepath.Join(dir, scribbleNames[s.r.IntN(len(scribbleNames))])
	s.check(os.RemoveAll(path))
	return path
}

func (s *scribbler) touch(path string) {
	s.now++
	ts := unix.NsecToTimespec(s.now*1e9 + s.r.Int64N(2)*5)
	s.check(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

func (s *scribbler) scribble(n int) {
	for range n {
		s.one()
	}
}

func (s *scribbler) one() {
	switch s.r.IntN(14) {
	case 0, 1, 2:
		path := s.fresh()
		data := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, s.r.Uint64()), s.r.IntN(3)*s.r.IntN(12_000))
		s.check(os.WriteFile(path, data, 0o600))
		s.check(os.Chmod(path, []fs.FileMode{0o644, 0o755, 0o600, 0o755 | fs.ModeSetuid, 0o444}[s.r.IntN(5)]))
		s.touch(path)
	case 3, 4, 5:
		path := s.fresh()
		s.check(os.Mkdir(path, 0o755))
		s.check(os.Chmod(path, []fs.FileMode{0o755, 0o700, 0o777 | fs.ModeSticky, 0o755 | fs.ModeSetgid}[s.r.IntN(4)]))
		s.touch(path)
	case 6:
		path := s.fresh()
		s.check(os.Symlink([]string{"a", "/lib", "../..", "nowhere", strings.Repeat("t/", 80)}[s.r.IntN(5)], path))
		s.touch(path)
	case 7:
		if from, ok := s.pick(isReg); ok {
			dir, _ := s.pick(isDir)
			to := filepath.Join(dir, scribbleNames[s.r.IntN(len(scribbleNames))])
			if to == from || strings.HasPrefix(from, to+"/") {
				return
			}
			s.check(os.RemoveAll(to))
			s.check(os.Link(from, to))
			s.touch(from)
		}
	case 8:
		if path, ok := s.pick(func(fs.FileMode) bool { return true }); ok && path != s.root {
			s.check(os.RemoveAll(path))
		}
	case 9:
		s.rename()
	case 10:
		path, ok := s.pick(func(m fs.FileMode) bool { return m.IsDir() || m.IsRegular() })
		if ok && path != s.root {
			err := unix.Setxattr(path, "user."+scribbleNames[s.r.IntN(3)], []byte{0, byte(s.r.IntN(4)), '\n'}, 0)
			if err == unix.EACCES && !s.priv {
				return // a file that is read-only for its owner too
			}
			s.check(err)
			s.touch(path)
		}
	case 11:
		path := s.fresh()
		s.check(unix.Mkfifo(path, 0o640))
		s.touch(path)
	case 12:
		if s.priv {
			path := s.fresh()
			s.check(unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, uint32(3+s.r.IntN(3))))))
			s.touch(path)
		}
	case 13:
		if path, ok := s.pick(func(fs.FileMode) bool { return true }); ok && s.priv && path != s.root {
			s.check(os.Lchown(path, s.r.IntN(3)*1_000_000, 5*s.r.IntN(700_000)))
			s.touch(path)
		}
	}
}

func (s *scribbler) rename() {
	from, ok := s.pick(func(fs.FileMode) bool { return true })
	dir, _ := s.pick(isDir)
	to := filepath.Join(dir, scribbleNames[s.r.IntN(len(scribbleNames))])
	if !ok || from == s.root || from == to || strings.HasPrefix(to+"/", from+"/") || strings.HasPrefix(from, to+"/") {
		return
	}
	s.check(os.RemoveAll(to))
	if err := os.Rename(from, to); err != nil {
		if err.(*os.LinkError).Err == unix.EXDEV {
			return // a directory of a lower layer
		}
		s.check(err)
	}
	// A further name of a file that did not change would be written as a file of
	// its own: BuildKit does not see the link either.
	s.check(filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			s.touch(path)
		}
		return err
	}))
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	src, err := sys.OpenDir(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := sys.OpenDir(to)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if err := (&sys.Copier{To: dst}).Tree(t.Context(), src, dst, ""); err != nil {
		t.Fatal(err)
	}
}
