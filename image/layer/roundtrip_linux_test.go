package layer

import (
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"builder/internal/sys"
)

// trees makes two random trees, the second one from the first.
func trees(t *testing.T, seed uint64) (a, b string) {
	t.Helper()
	a, b = t.TempDir(), t.TempDir()
	s := newScribbler(t, a, seed)
	s.scribble(60)
	copyTree(t, a, b)
	s.root = b
	s.scribble(40)
	return a, b
}

func TestALayerMakesTheSecondTreeOfTheFirst(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			a, b := trees(t, seed)
			before, after := describeTree(t, a, false), describeTree(t, b, false)
			below := scanAll(t, a)
			ix := scanOver(t, b, fullChanges(before, after), NewStack(below))
			tar := writeTar(t, ix, b, 1_000_000_000)

			read := apply(t, "", tar, ApplyOptions{})
			want := withoutTimes(ix.Entries)
			for i := range want {
				want[i].Parent = false // the tar does not say
			}
			sameEntries(t, "index of the tar", withoutTimes(read.Entries), want)
			if read.Content() != ix.Content() {
				t.Error("the tar's index has another content digest")
			}

			c := t.TempDir()
			copyTree(t, a, c)
			apply(t, c, tar, ApplyOptions{})
			sameTree(t, "applied tar", describeTree(t, c, false), after)

			d := t.TempDir()
			copyTree(t, a, d)
			src, err := OpenDir(b)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			if err := WriteTree(t.Context(), d, ix, src, TreeOptions{}); err != nil {
				t.Fatal(err)
			}
			sameTree(t, "written tree", describeTree(t, d, false), after)
		})
	}
}

func TestATreeWrittenFromItsTarKeepsItsTimes(t *testing.T) {
	a, _ := trees(t, 100)
	ix := scanAll(t, a)
	tar := writeTar(t, ix, a, 1_000_000_000)
	d := t.TempDir()
	if err := WriteTree(t.Context(), d, ix, NewTarSource(strings.NewReader(string(tar))), TreeOptions{}); err != nil {
		t.Fatal(err)
	}
	sameTree(t, "written tree", describeTree(t, d, true), describeTree(t, a, true))
}

// upperChanges lists an overlay's upper directory as a snapshotter does.
func upperChanges(t *testing.T, upper string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		err := filepath.WalkDir(upper, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == upper {
				return err
			}
			c := Change{Path: strings.TrimPrefix(path, upper+"/")}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if info.Mode()&fs.ModeCharDevice != 0 {
				if e, _, err := (&treeWriter{at: mustCursor(t, upper)}).lookup(c.Path); err == nil && e.Major == 0 && e.Minor == 0 {
					c.Kind = Delete
				}
			}
			if !yield(c, nil) {
				return fs.SkipAll
			}
			if _, opaque, _ := sys.Xattr(path, "trusted.overlay.opaque"); d.IsDir() && opaque {
				c.Kind = Opaque
				yield(c, nil)
			}
			return nil
		})
		if err != nil {
			yield(Change{}, err)
		}
	}
}

func mustCursor(t *testing.T, dir string) *cursor {
	c, err := openCursor(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close() })
	return c
}

// overlay returns a path of an overlay's root; it is gone with the test.
func overlay(t *testing.T, o sys.Overlay) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting an overlay needs root")
	}
	root, err := sys.OpenOverlay(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", root.Fd())
}

// TestScanOfAnOverlay changes a mounted overlay at random: what Scan makes of
// its upper directory gives the same tree wherever it is applied.
func TestScanOfAnOverlay(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			a, upper, work := t.TempDir(), t.TempDir(), t.TempDir()
			s := newScribbler(t, a, 200+seed)
			s.scribble(60)
			below := scanAll(t, a)
			s.root = overlay(t, sys.Overlay{Lower: []string{a}, Upper: upper, Work: work})
			s.scribble(40)
			after := describeTree(t, s.root, false)

			ix := scanOver(t, upper, upperChanges(t, upper), NewStack(below))
			for _, e := range ix.Entries {
				if e.Opaque {
					t.Errorf("%s is opaque: whiteouts were wanted", e.Path)
				}
			}
			tar := writeTar(t, ix, upper, 7)

			c := t.TempDir()
			copyTree(t, a, c)
			apply(t, c, tar, ApplyOptions{})
			sameTree(t, "applied", describeTree(t, c, false), after)

			d, empty := t.TempDir(), t.TempDir()
			apply(t, d, tar, ApplyOptions{Whiteouts: WhiteoutsTrusted})
			merged := overlay(t, sys.Overlay{Lower: []string{d, a, empty}})
			sameTree(t, "as an overlay", describeTree(t, merged, false), after)

			full := scanAll(t, c)
			sameStack(t, NewStack(below, ix), NewStack(full))
		})
	}
}

// sameStack compares two views, path by path.
func sameStack(t *testing.T, got, want View) {
	t.Helper()
	var walk func(dir string)
	walk = func(dir string) {
		g, w := got.ReadDir(dir), want.ReadDir(dir)
		sameEntries(t, "ReadDir "+dir, withoutTimes(g), withoutTimes(w))
		for _, e := range g {
			if l, ok := got.Lookup(e.Path); !ok || fmt.Sprint(l) != fmt.Sprint(e) {
				t.Errorf("Lookup %q: %+v, %v; ReadDir says %+v", e.Path, l, ok, e)
			}
			if e.Type == Dir {
				walk(e.Path)
			} else if below := got.ReadDir(e.Path); len(below) > 0 {
				t.Errorf("%q is no directory and holds %v", e.Path, below)
			}
		}
	}
	walk("")
}

func overlayOf(lower ...string) sys.Overlay { return sys.Overlay{Lower: lower} }
