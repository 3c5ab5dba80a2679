package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"builder/image"
	"builder/internal/sys"
	"builder/snapshot"
)

// TestManyLayers makes a tree of more layers than the kernel stacks: the lowest
// become one, and nothing else changes.
func TestManyLayers(t *testing.T) {
	if err := Probe(t.TempDir(), false); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s := newStore(t)
	want := map[string]string{}
	var top snapshot.ID
	for i := range 450 {
		var c image.ContentDigest
		copy(c[:], fmt.Sprint(i))
		tree, err := s.Add(t.Context(), top, snapshot.Chain(top, c), func(dir string, _ snapshot.Whiteouts) error {
			return writeLayer(dir, i, want)
		})
		if err != nil {
			t.Fatal(err)
		}
		top = tree.ID
	}
	m, err := s.Mount(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Lower) > maxDiffs {
		t.Errorf("%d lower directories", len(m.Lower))
	}
	compareMount(t, m, want)
	a, err := s.Prepare(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	compareMount(t, a.Mount(), want)
	if err := s.Remove(t.Context(), top); err != nil {
		t.Fatal(err)
	}
}

// writeLayer writes layer i and notes in want what the tree holds then: a file
// that all layers write, one of its own, a directory that is made again now
// and then, files that are removed, and hard links.
func writeLayer(dir string, i int, want map[string]string) error {
	text, sub := fmt.Sprint(i), filepath.Join(dir, "dir")
	own := "f" + text
	want["all"], want[own], want["dir/"+own] = text, text, text
	errs := []error{
		os.WriteFile(filepath.Join(dir, "all"), []byte(text), 0o644),
		os.WriteFile(filepath.Join(dir, own), []byte(text), 0o644),
		os.Mkdir(sub, 0o755),
		os.Link(filepath.Join(dir, own), filepath.Join(sub, own)),
	}
	if i%10 == 5 {
		gone := fmt.Sprintf("f%d", i-3)
		delete(want, gone)
		errs = append(errs, syscall.Mknod(filepath.Join(dir, gone), syscall.S_IFCHR, 0))
	}
	if i%50 == 49 {
		for j := range i {
			delete(want, fmt.Sprintf("dir/f%d", j))
		}
		errs = append(errs, sys.SetXattr(sub, "trusted.overlay.opaque", []byte("y")))
	}
	return errors.Join(errs...)
}

// compareMount checks the files of a mount, and that the hard links of want are
// still links.
func compareMount(t *testing.T, m snapshot.Mount, want map[string]string) {
	t.Helper()
	f, err := sys.OpenOverlay(sys.Overlay{Lower: m.Lower, Upper: m.Upper, Work: m.Work, UserXattr: m.UserXattr})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	root := fmt.Sprintf("/proc/self/fd/%d/", f.Fd())
	n := 0
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if string(data) != want[name] {
			t.Errorf("%s holds %q, want %q", name, data, want[name])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n != len(want) {
		t.Errorf("%d files, want %d", n, len(want))
	}
	for _, name := range []string{"f401", "f449", "f410"} {
		a, err1 := os.Stat(root + name)
		b, err2 := os.Stat(root + "dir/" + name)
		if err1 == nil && err2 == nil && !os.SameFile(a, b) {
			t.Errorf("%s is no longer a hard link", name)
		}
	}
}
