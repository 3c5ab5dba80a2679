package snapshottest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"builder/snapshot"
)

// cycleChecks are about the life of trees: prepare, commit, discard, add, remove.
var cycleChecks = []check{
	{"the empty tree is always there", func(t *testing.T, s *suite) {
		tree, ok, err := s.Tree(t.Context(), snapshot.ID{})
		if err != nil || !ok || !tree.ID.IsZero() {
			t.Fatalf("Tree(zero) = %+v, %v, %v", tree, ok, err)
		}
		if l := s.view(t, snapshot.ID{}); len(l) != 1 {
			t.Errorf("the empty tree holds %v", l)
		}
	}},
	{"an active tree over the empty tree", func(t *testing.T, s *suite) {
		tree := s.make(t, snapshot.ID{}, "a", shell("echo hello > file; mkdir dir; ln -s file link"))
		l := s.view(t, tree.ID)
		if len(l) != 4 || !strings.Contains(l["link"].What, `"file"`) {
			t.Errorf("got %v", l)
		}
		if !strings.HasPrefix(l[""].What, "40755 ") {
			t.Errorf("its root is %s, want mode 0755", l[""].What)
		}
	}},
	{"what is missing is ErrNotFound", func(t *testing.T, s *suite) {
		missing := id(snapshot.ID{}, "missing")
		_, ok, err := s.Tree(t.Context(), missing)
		if ok || err != nil {
			t.Errorf("Tree = %v, %v, want nothing", ok, err)
		}
		here := s.make(t, snapshot.ID{}, "here", shell("touch x"))
		_, e1 := s.Mount(t.Context(), missing)
		_, e2 := s.Prepare(t.Context(), missing)
		_, e3 := s.Add(t.Context(), missing, id(missing, "x"), func(string, snapshot.Whiteouts) error { return nil })
		_, e4 := s.Graft(t.Context(), missing, id(missing, "x"), here.ID, func(func(snapshot.Change) bool) {})
		_, e5 := s.Graft(t.Context(), here.ID, id(here.ID, "x"), missing, func(func(snapshot.Change) bool) {})
		for i, err := range []error{e1, e2, e3, e4, e5} {
			if !errors.Is(err, snapshot.ErrNotFound) {
				t.Errorf("call %d: got %v, want ErrNotFound", i+1, err)
			}
		}
	}},
	{"a committed tree is what the active one was", func(t *testing.T, s *suite) {
		parent := s.make(t, snapshot.ID{}, "a", shell("mkdir -p a/b; echo 1 > a/b/c; echo 2 > d"))
		a := s.prepare(t, parent.ID, shell("echo 3 >> a/b/c; rm d; mkdir e; echo 4 > e/f; chmod 700 a"))
		var want listing
		must(t, mounted(a.Mount(), func(root string) error { want = list(t, root); return nil }))
		tree, err := s.Commit(t.Context(), a, id(parent.ID, "b"))
		must(t, err)
		if tree.ID != id(parent.ID, "b") || tree.Parent != parent.ID {
			t.Errorf("committed as %s on %s", tree.ID, tree.Parent)
		}
		sameTimes(t, "committed", s.view(t, tree.ID), want)
		if _, err := os.Lstat(filepath.Join(tree.Dir, "e/f")); err != nil {
			t.Errorf("a file of the layer is not below Dir: %v", err)
		}
	}},
	{"an active tree starts equal to its parent", func(t *testing.T, s *suite) {
		parent := s.make(t, snapshot.ID{}, "a", shell("mkdir -p a/b; echo 1 > a/b/c; chmod 711 .; touch -d 2001-01-01 a/b a ."))
		a, err := s.Prepare(t.Context(), parent.ID)
		must(t, err)
		sameTimes(t, "active", s.look(t, a.Mount()), s.view(t, parent.ID))
		must(t, s.Discard(t.Context(), a))
	}},
	{"the metadata of the root passes through layers", func(t *testing.T, s *suite) {
		a := s.make(t, snapshot.ID{}, "a", shell("chmod 1751 ."))
		b := s.make(t, a.ID, "b", shell("touch file"))
		c, err := s.Add(t.Context(), b.ID, id(b.ID, "c"), func(dir string, w snapshot.Whiteouts) error {
			return os.WriteFile(filepath.Join(dir, "other"), nil, 0o644)
		})
		must(t, err)
		if got := s.view(t, c.ID)[""].What; !strings.HasPrefix(got, "41751 ") {
			t.Errorf("the root is %s, want mode 1751", got)
		}
	}},
	{"a committed tree does not change", func(t *testing.T, s *suite) {
		parent := s.make(t, snapshot.ID{}, "a", shell("echo 1 > a; ln a b; mkdir d; echo 2 > d/e"))
		want := s.view(t, parent.ID)
		s.make(t, parent.ID, "b", shell("echo changed >> a; chmod 600 b; rm -r d; mkdir d; touch -d 2001-01-01 ."))
		sameTimes(t, "the parent", s.view(t, parent.ID), want)
	}},
	{"discard leaves nothing", func(t *testing.T, s *suite) {
		a := s.prepare(t, snapshot.ID{}, shell("echo secret > file"))
		must(t, s.Discard(t.Context(), a))
		if _, err := os.Lstat(a.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Dir after Discard: %v", err)
		}
		s.empty(t, "temp")
	}},
	{"the first commit of an ID stays", func(t *testing.T, s *suite) {
		first := s.make(t, snapshot.ID{}, "a", shell("echo first > file"))
		want := s.view(t, first.ID)
		second := s.make(t, snapshot.ID{}, "a", shell("echo second > file"))
		if second != first {
			t.Errorf("the second commit returned %+v, want %+v", second, first)
		}
		sameTimes(t, "the tree", s.view(t, first.ID), want)
		s.empty(t, "temp")
	}},
	{"an active tree of another store is refused", func(t *testing.T, s *suite) {
		other := &suite{open: s.open, base: t.TempDir()}
		other.o = Options{Dir: other.dir(t, "store"), Temp: fixed(other.dir(t, "temp")), Trash: fixed(other.dir(t, "trash"))}
		other.Snapshotter = other.reopen(t)
		a := other.prepare(t, snapshot.ID{}, shell("touch x"))
		if _, err := s.Commit(t.Context(), a, id(snapshot.ID{}, "x")); err == nil {
			t.Error("Commit took it")
		}
		if err := s.Discard(t.Context(), a); err == nil {
			t.Error("Discard took it")
		}
	}},
	{"add makes a tree without mounting", func(t *testing.T, s *suite) {
		parent := s.make(t, snapshot.ID{}, "a", shell("mkdir -p keep gone full; touch keep/x gone/x full/old"))
		var style snapshot.Whiteouts
		tree, err := s.Add(t.Context(), parent.ID, id(parent.ID, "b"), func(dir string, w snapshot.Whiteouts) error {
			style = w
			return addExample(dir, w)
		})
		must(t, err)
		l := s.view(t, tree.ID)
		for path, want := range map[string]bool{"keep/x": true, "gone": false, "gone/x": false, "full/old": false, "full/new": true} {
			if _, ok := l[path]; ok != want {
				t.Errorf("%q there: %v, want %v (whiteouts %d)", path, ok, want, style)
			}
		}
	}},
	{"a removal of what is not there is not seen", func(t *testing.T, s *suite) {
		parent := s.make(t, snapshot.ID{}, "a", shell("mkdir old; touch old/x"))
		tree, err := s.Add(t.Context(), parent.ID, id(parent.ID, "b"), func(dir string, w snapshot.Whiteouts) error {
			fresh := filepath.Join(dir, "fresh")
			if err := os.Mkdir(fresh, 0o755); err != nil || w == snapshot.Applied {
				return err
			}
			return errors.Join(whiteout(filepath.Join(fresh, "x")), whiteout(filepath.Join(dir, "y")))
		})
		must(t, err)
		if l := s.view(t, tree.ID); len(l) != 4 {
			t.Errorf("the tree holds %v", l)
		}
	}},
	{"an error of fill undoes everything", func(t *testing.T, s *suite) {
		broken := errors.New("broken")
		_, err := s.Add(t.Context(), snapshot.ID{}, id(snapshot.ID{}, "a"), func(dir string, w snapshot.Whiteouts) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o644), broken)
		})
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if _, ok, _ := s.Tree(t.Context(), id(snapshot.ID{}, "a")); ok {
			t.Error("the tree is there")
		}
		s.empty(t, "temp")
	}},
	{"add does not fill what is here", func(t *testing.T, s *suite) {
		first := s.make(t, snapshot.ID{}, "a", shell("touch x"))
		second, err := s.Add(t.Context(), snapshot.ID{}, first.ID, func(string, snapshot.Whiteouts) error {
			return errors.New("called")
		})
		if err != nil || second != first {
			t.Errorf("got %+v, %v", second, err)
		}
	}},
	{"a removed tree is gone and comes back", func(t *testing.T, s *suite) {
		tree := s.make(t, snapshot.ID{}, "a", shell("echo 1 > marker"))
		must(t, s.Remove(t.Context(), tree.ID))
		if _, ok, err := s.Tree(t.Context(), tree.ID); ok || err != nil {
			t.Errorf("after Remove: %v, %v", ok, err)
		}
		must(t, s.Remove(t.Context(), tree.ID))
		again := s.make(t, snapshot.ID{}, "a", shell("echo 2 > marker"))
		if again.ID != tree.ID || len(s.view(t, tree.ID)) != 2 {
			t.Errorf("made again: %+v", again)
		}
	}},
	{"a tree outlives its parent", func(t *testing.T, s *suite) {
		parent := s.make(t, snapshot.ID{}, "a", shell("echo 1 > a"))
		child := s.make(t, parent.ID, "b", shell("echo 2 > b"))
		want := s.view(t, child.ID)
		must(t, s.Remove(t.Context(), parent.ID))
		sameTimes(t, "the child", s.view(t, child.ID), want)
		grand := s.make(t, child.ID, "c", shell("cat a b > c"))
		if _, ok := s.view(t, grand.ID)["c"]; !ok {
			t.Error("a child of the orphan lacks its file")
		}
	}},
	{"the files of removed trees go", func(t *testing.T, s *suite) {
		a := s.make(t, snapshot.ID{}, "a", shell("echo 1 > marker"))
		b := s.make(t, a.ID, "b", shell("echo 2 > marker"))
		must(t, s.Remove(t.Context(), a.ID))
		must(t, s.Remove(t.Context(), b.ID))
		if found := find(t, s.o.Dir, "marker"); len(found) > 0 {
			t.Errorf("still there: %v", found)
		}
	}},
	{"commit on a parent that was removed", func(t *testing.T, s *suite) {
		parent := s.make(t, snapshot.ID{}, "a", shell("echo 1 > a"))
		a := s.prepare(t, parent.ID, shell("echo 2 > b"))
		must(t, s.Remove(t.Context(), parent.ID))
		child, err := s.Commit(t.Context(), a, id(parent.ID, "b"))
		if err != nil {
			if !errors.Is(err, snapshot.ErrNotFound) {
				t.Fatalf("got %v, want a tree or ErrNotFound", err)
			}
			if _, ok, _ := s.Tree(t.Context(), id(parent.ID, "b")); ok {
				t.Error("Commit failed, but the tree is there")
			}
			return
		}
		if l := s.view(t, child.ID); len(l) != 3 {
			t.Errorf("the tree holds %v", l)
		}
	}},
	{"no tree is older than its parent", func(t *testing.T, s *suite) {
		a := s.make(t, snapshot.ID{}, "a", shell("touch a"))
		s.ahead = -time.Hour
		b := s.make(t, a.ID, "b", shell("touch b"))
		c, err := s.Add(t.Context(), b.ID, id(b.ID, "c"), func(string, snapshot.Whiteouts) error { return nil })
		must(t, err)
		if b.Born.Before(a.Born) || c.Born.Before(b.Born) {
			t.Errorf("born %v, %v, %v", a.Born, b.Born, c.Born)
		}
		again, _, err := s.Tree(t.Context(), c.ID)
		if err != nil || again != c {
			t.Errorf("Tree = %+v, %v, want %+v", again, err, c)
		}
	}},
	{"a cancelled context ends a walk", func(t *testing.T, s *suite) {
		a := s.prepare(t, snapshot.ID{}, shell("mkdir a; touch a/b"))
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		cancel(gone)
		var got error
		for _, err := range a.Changes(ctx) {
			got = err
		}
		if !errors.Is(got, gone) {
			t.Errorf("the walk ended with %v", got)
		}
	}},
}

// addExample removes gone and replaces full by a new directory.
func addExample(dir string, w snapshot.Whiteouts) error {
	full := filepath.Join(dir, "full")
	if w == snapshot.Applied {
		return errors.Join(os.RemoveAll(filepath.Join(dir, "gone")), os.RemoveAll(full),
			os.Mkdir(full, 0o755), os.WriteFile(filepath.Join(full, "new"), nil, 0o644))
	}
	return errors.Join(whiteout(filepath.Join(dir, "gone")), os.Mkdir(full, 0o755),
		opaque(full, w), os.WriteFile(filepath.Join(full, "new"), nil, 0o644))
}

// empty fails if a directory of the suite's holds anything.
func (s *suite) empty(t *testing.T, name string) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(s.base, name))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("%s still holds %v", name, left)
	}
}

// find returns the paths below dir whose last part is name.
func find(t *testing.T, dir, name string) (found []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.Name() == name {
			found = append(found, path)
		}
		return err
	}))
	return found
}
