package fileop_test

import (
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"builder/executor/fileop"
	"builder/image/layer"
	"builder/planner"
)

// The layer that a copy makes, written over the destination, must give what
// copying file by file gives.
func TestCopyAgreesWithCopyingFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners are set, which needs root")
	}
	failures := 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		src, dst, want := t.TempDir(), t.TempDir(), t.TempDir()
		grow(t, r, src)
		grow(t, r, dst)
		copyFiles(t, dst, want, reference{})
		op := planner.Copy{Sources: []string{"/"}, Dest: []string{"/", "/a", "/new/sub"}[r.IntN(3)]}
		ref := reference{uid: -1}
		if r.IntN(2) == 0 {
			op.Chown, ref.uid, ref.gid = "7:8", 7, 8
		}
		if r.IntN(3) == 0 {
			op.Chmod, ref.mode = "4711", 0o4711
		}
		refErr := ref.copy(src, want, op.Dest)
		err := copyLayer(t, op, src, dst)
		if (err == nil) != (refErr == nil) {
			t.Fatalf("seed %d: error %v, reference %v", seed, err, refErr)
		}
		if err != nil {
			failures++
			continue
		}
		if got, want := describe(t, dst), describe(t, want); got != want {
			t.Fatalf("seed %d: copy to %s: got\n%swant\n%s", seed, op.Dest, got, want)
		}
	}
	if failures > 100 {
		t.Errorf("%d copies of 150 failed: that tests little", failures)
	}
}

// grow fills dir with a random tree.
func grow(t *testing.T, r *rand.Rand, dir string) {
	t.Helper()
	dirs, files := []string{dir}, []string(nil)
	for range 4 + r.IntN(16) {
		p := filepath.Join(dirs[r.IntN(len(dirs))], string(rune('a'+r.IntN(5))))
		if _, err := os.Lstat(p); err == nil {
			continue
		}
		var err error
		switch r.IntN(6) {
		case 0, 1, 2:
			err = os.Mkdir(p, 0o755)
			dirs = append(dirs, p)
		case 3:
			err = os.Symlink("../a", p)
		case 4:
			if len(files) > 0 {
				err = os.Link(files[r.IntN(len(files))], p)
				break
			}
			fallthrough
		default:
			err = os.WriteFile(p, []byte{byte('0' + r.IntN(3))}, 0o644)
			files = append(files, p)
		}
		if err == nil {
			err = os.Lchown(p, r.IntN(3), r.IntN(3))
		}
		if st, _ := os.Lstat(p); err == nil && st.Mode()&fs.ModeSymlink == 0 {
			err = syscall.Chmod(p, []uint32{0o755, 0o600, 0o4750, 0o2775}[r.IntN(4)])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// reference copies files one by one.
type reference struct {
	uid, gid int // uid -1 keeps owners
	mode     uint32
	first    map[uint64]string
}

func (ref reference) copy(src, root, dest string) error {
	ref.first = map[uint64]string{}
	at := root
	for part := range strings.SplitSeq(strings.Trim(dest, "/"), "/") {
		if part == "" {
			continue
		}
		above, err := os.Stat(at)
		if err != nil {
			return err
		}
		at = filepath.Join(at, part)
		st, err := os.Lstat(at)
		switch {
		case err == nil && st.Mode()&fs.ModeSymlink != 0:
			at = filepath.Join(root, "a") // the only link that grow makes, resolved in the root
			if st, err := os.Lstat(at); err == nil && !st.IsDir() {
				return fmt.Errorf("%s: not a directory", at)
			}
			if _, err := os.Lstat(at); err == nil {
				continue
			}
		case err == nil && !st.IsDir():
			return fmt.Errorf("%s: not a directory", at)
		case err == nil:
			continue
		}
		mode := uint32(0o755)
		if ref.mode != 0 {
			mode = ref.mode & 0o777
		}
		gid := 0
		if above.Mode()&fs.ModeSetgid != 0 {
			mode |= syscall.S_ISGID
			gid = int(above.Sys().(*syscall.Stat_t).Gid)
		}
		if err := os.Mkdir(at, 0o700); err != nil {
			return err
		}
		if ref.uid >= 0 {
			err = os.Chown(at, ref.uid, ref.gid)
		} else {
			err = os.Chown(at, 0, gid)
		}
		if err == nil {
			err = syscall.Chmod(at, mode)
		}
		if err != nil {
			return err
		}
	}
	return ref.children(src, at)
}

func (ref reference) children(src, dst string) error {
	names, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ref.one(filepath.Join(src, name.Name()), filepath.Join(dst, name.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (ref reference) one(src, dst string) error {
	st, err := os.Lstat(src)
	if err != nil {
		return err
	}
	there, missing := os.Lstat(dst)
	sys := st.Sys().(*syscall.Stat_t)
	switch {
	case st.IsDir() && missing != nil:
		err = os.Mkdir(dst, 0o700)
	case st.IsDir() != (missing == nil && there.IsDir()) && missing == nil:
		return fmt.Errorf("%s: directory and file", dst)
	case st.IsDir():
	default:
		if missing == nil {
			err = os.Remove(dst)
		}
		if err == nil {
			err = ref.file(src, dst, st, sys)
		}
	}
	if err == nil && st.IsDir() {
		err = ref.children(src, dst)
	}
	if err != nil {
		return err
	}
	uid, gid, mode := int(sys.Uid), int(sys.Gid), sys.Mode&0o7777
	if ref.uid >= 0 {
		uid, gid = ref.uid, ref.gid
	}
	if ref.mode != 0 {
		mode = ref.mode
	}
	if err := os.Lchown(dst, uid, gid); err != nil {
		return err
	}
	if st.Mode()&fs.ModeSymlink == 0 {
		return syscall.Chmod(dst, mode)
	}
	return nil
}

func (ref reference) file(src, dst string, st fs.FileInfo, sys *syscall.Stat_t) error {
	if st.Mode()&fs.ModeSymlink != 0 {
		link, err := os.Readlink(src)
		if err != nil {
			return err
		}
		return os.Symlink(link, dst)
	}
	if first, ok := ref.first[sys.Ino]; ok {
		return os.Link(first, dst)
	}
	ref.first[sys.Ino] = dst
	data, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, data, 0o600)
}

func copyFiles(t *testing.T, from, to string, ref reference) {
	t.Helper()
	ref.uid, ref.first = -1, map[uint64]string{}
	if err := ref.children(from, to); err != nil {
		t.Fatal(err)
	}
}

// copyLayer computes the layer of a copy and writes it over dst.
func copyLayer(t *testing.T, op planner.Copy, src, dst string) error {
	t.Helper()
	from, files := scan(t, src)
	below, _ := scan(t, dst)
	sel, err := fileop.Select(op, layer.NewStack(from))
	if err != nil {
		return err
	}
	made, err := fileop.Copy(t.Context(), op, sel, fileop.Tree{View: layer.NewStack(below), Base: 1},
		fileop.CopyOptions{Source: files, Now: time.Now()})
	if err != nil {
		return err
	}
	return layer.WriteTree(t.Context(), dst, made.Index, made, layer.TreeOptions{})
}

// scan makes the index of a directory.
func scan(t *testing.T, dir string) (*layer.Index, layer.Source) {
	t.Helper()
	ix, err := layer.Scan(t.Context(), dir, all(dir), layer.NewStack(), layer.ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := layer.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	})
	return ix, files
}

// all lists everything in a directory as changed.
func all(dir string) iter.Seq2[layer.Change, error] {
	return func(yield func(layer.Change, error) bool) {
		err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
			if p == dir || err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, p)
			if !yield(layer.Change{Path: rel, Kind: layer.Modify}, err) {
				return fs.SkipAll
			}
			return err
		})
		if err != nil {
			yield(layer.Change{}, err)
		}
	}
}

// describe writes down everything in a directory but times.
func describe(t *testing.T, dir string) string {
	t.Helper()
	groups := map[uint64]string{}
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if p == dir || err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		sys := st.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d", st.Mode(), sys.Uid, sys.Gid)
		switch {
		case st.Mode().IsRegular():
			if groups[sys.Ino] == "" {
				groups[sys.Ino] = p
			}
			data, err := os.ReadFile(p)
			text += fmt.Sprintf(" %q %v %s", data, err, strings.TrimPrefix(groups[sys.Ino], dir))
		case st.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(p)
			text += fmt.Sprintf(" %q %v", link, err)
		}
		found[strings.TrimPrefix(p, dir)] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(&b, "%s %s\n", name, found[name])
	}
	return b.String()
}
