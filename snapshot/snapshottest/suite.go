package snapshottest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"builder/image"
	"builder/snapshot"
)

// Options are what a snapshotter is opened with.
type Options struct {
	Dir         string
	Temp, Trash func() (string, error)
	Now         func() time.Time // nil: the real clock
}

// Open opens the snapshotter that is tested. It is called more than once for one
// directory, as by several processes.
type Open func(o Options) (snapshot.Snapshotter, error)

// check is one promise.
type check struct {
	name string
	run  func(t *testing.T, s *suite)
}

// Run holds the snapshotters that open returns to the promises of package
// snapshot. Devices, owners and file capabilities are tested as root only.
func Run(t *testing.T, open Open) {
	for _, c := range slices.Concat(cycleChecks, keepChecks, treeChecks, graftChecks, processChecks) {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{open: open, base: t.TempDir()}
			s.o = Options{Dir: s.dir(t, "store"), Temp: fixed(s.dir(t, "temp")), Trash: fixed(s.dir(t, "trash"))}
			s.o.Now = func() time.Time { return time.Now().Add(s.ahead) }
			s.Snapshotter = s.reopen(t)
			c.run(t, s)
		})
	}
}

// suite is a snapshotter in a directory of its own.
type suite struct {
	snapshot.Snapshotter
	open  Open
	base  string
	o     Options
	ahead time.Duration // by which the clock is ahead of the real one
}

func fixed(dir string) func() (string, error) { return func() (string, error) { return dir, nil } }

func (s *suite) dir(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(s.base, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (s *suite) reopen(t *testing.T) snapshot.Snapshotter {
	t.Helper()
	other, err := s.open(s.o)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// id names a tree for a test.
func id(parent snapshot.ID, name string) snapshot.ID {
	var c image.ContentDigest
	copy(c[:], name)
	return snapshot.Chain(parent, c)
}

// prepare makes an active tree and changes it.
func (s *suite) prepare(t *testing.T, parent snapshot.ID, change func(root string) error) snapshot.Active {
	t.Helper()
	a, err := s.Prepare(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := mounted(a.Mount(), change); err != nil {
		t.Fatal(err)
	}
	return a
}

// make commits a tree that change makes of parent.
func (s *suite) make(t *testing.T, parent snapshot.ID, name string, change func(root string) error) snapshot.Tree {
	t.Helper()
	tree, err := s.Commit(t.Context(), s.prepare(t, parent, change), id(parent, name))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// view lists a committed tree.
func (s *suite) view(t *testing.T, id snapshot.ID) (l listing) {
	t.Helper()
	m, err := s.Mount(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if m.Writable {
		t.Errorf("the mount of the committed tree %s is writable", id)
	}
	return s.look(t, m)
}

func (s *suite) look(t *testing.T, m snapshot.Mount) (l listing) {
	t.Helper()
	err := mounted(m, func(root string) error {
		l = list(t, root)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// changes collects the changes of an active tree and checks their order.
func (s *suite) changes(t *testing.T, a snapshot.Active) []snapshot.Change {
	t.Helper()
	var list []snapshot.Change
	seen := map[string]snapshot.Kind{}
	for c, err := range a.Changes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if kind, ok := seen[c.Path]; ok && (kind != snapshot.Modify || c.Kind != snapshot.Opaque) {
			t.Errorf("%q is listed twice", c.Path)
		}
		seen[c.Path] = c.Kind
		list = append(list, c)
	}
	for i := 1; i < len(list); i++ {
		a, b := list[i-1], list[i]
		if a.Path != "" && filepath.Dir(a.Path) == filepath.Dir(b.Path) && !ordered(a, b) {
			t.Errorf("%v comes before %v", a, b)
		}
	}
	return list
}

// ordered reports whether siblings may follow each other.
func ordered(a, b snapshot.Change) bool {
	if (a.Kind == snapshot.Delete) != (b.Kind == snapshot.Delete) {
		return a.Kind == snapshot.Delete
	}
	return a.Path <= b.Path
}

// patch returns what changes, whose files are in from, make of parent.
func patch(parent, from listing, changes []snapshot.Change) listing {
	l := listing{}
	for path, f := range parent {
		l[path] = f
	}
	for _, c := range changes {
		if f, ok := from[c.Path]; c.Kind == snapshot.Modify && ok {
			if l[c.Path].What != "" && !isDir(f) {
				clearBelow(l, c.Path)
			}
			l[c.Path] = f
			continue
		}
		clearBelow(l, c.Path)
		if c.Kind == snapshot.Delete {
			delete(l, c.Path)
		}
	}
	return l
}

func isDir(f file) bool { return len(f.What) > 2 && f.What[:2] == "40" }

func clearBelow(l listing, dir string) {
	for path := range l {
		if len(path) > len(dir) && path[:len(dir)] == dir && (dir == "" || path[len(dir)] == '/') && path != "" {
			delete(l, path)
		}
	}
}

// must fails on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// number names things in loops.
func number(i int) string { return fmt.Sprintf("%04d", i) }
