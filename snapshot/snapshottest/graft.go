package snapshottest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"builder/snapshot"
)

// graftChecks are about layers that are put onto another parent.
var graftChecks = []check{
	{"graft puts a layer onto another parent", func(t *testing.T, s *suite) {
		one := s.make(t, snapshot.ID{}, "one", shell("mkdir d gone; echo 1 > d/a; touch gone/x; echo 1 > f"))
		two := s.make(t, snapshot.ID{}, "two", shell("mkdir d gone; echo 2 > d/b; touch gone/y; echo 2 > f"))
		from, changes := s.layer(t, one.ID, shell("echo 3 > d/c; rm -r gone; chmod 600 f"))
		before := s.view(t, from.ID)
		want := patch(s.view(t, two.ID), before, changes)
		tree := s.graft(t, two.ID, from.ID, changes)
		if tree.Parent != two.ID {
			t.Errorf("the parent is %s", tree.Parent)
		}
		got := s.view(t, tree.ID)
		same(t, "grafted", got, want)
		sameTimes(t, "the origin", s.view(t, from.ID), before)
		if _, ok := got["gone"]; ok {
			t.Error("what the layer removes is still there")
		}
	}},
	{"graft onto the empty tree", func(t *testing.T, s *suite) {
		one := s.make(t, snapshot.ID{}, "one", shell("mkdir d; echo 1 > d/a"))
		from, changes := s.layer(t, one.ID, shell("echo 3 > d/c; rm d/a; ln d/c e"))
		tree := s.graft(t, snapshot.ID{}, from.ID, changes)
		same(t, "grafted", s.view(t, tree.ID), patch(s.view(t, snapshot.ID{}), s.view(t, from.ID), changes))
	}},
	{"a graft that is newer keeps its times", func(t *testing.T, s *suite) {
		two := s.make(t, snapshot.ID{}, "two", shell("echo 2 > b"))
		from, changes := s.layer(t, snapshot.ID{}, shell("echo 1 > a; echo 2 > old; touch -d 2001-02-03 old"))
		tree := s.graft(t, two.ID, from.ID, changes)
		l, origin := s.view(t, tree.ID), s.view(t, from.ID)
		for _, path := range []string{"a", "old"} {
			if l[path].Mtime != origin[path].Mtime {
				t.Errorf("%s: %d became %d", path, origin[path].Mtime, l[path].Mtime)
			}
		}
		if tree.Born.Before(two.Born) {
			t.Errorf("born %v, before its parent, %v", tree.Born, two.Born)
		}
	}},
	{"a graft that is older is moved after its parent", func(t *testing.T, s *suite) {
		from, changes := s.layer(t, snapshot.ID{}, shell(`mkdir d; echo 1 > d/new; echo 2 > old; touch -d 2001-02-03 old
			echo 3 > older; touch -d 1999-02-03 older; ln old link; ln -s x sym`))
		s.ahead = time.Hour
		two := s.make(t, snapshot.ID{}, "two", shell("echo 2 > b"))
		s.ahead = 2 * time.Hour
		tree := s.graft(t, two.ID, from.ID, changes)
		l := s.view(t, tree.ID)
		same(t, "grafted", l, patch(s.view(t, two.ID), s.view(t, from.ID), changes))
		latest := time.Now().Add(s.ahead)
		for _, c := range changes {
			at := time.Unix(0, l[c.Path].Mtime)
			if at.Before(two.Born) || at.After(latest) {
				t.Errorf("%s has the time %v, outside %v … %v", c.Path, at, two.Born, latest)
			}
		}
		if l["older"].Mtime > l["old"].Mtime || l["old"].Mtime >= l["d/new"].Mtime {
			t.Errorf("the order is lost: %d, %d, %d", l["older"].Mtime, l["old"].Mtime, l["d/new"].Mtime)
		}
		if tree.Born.Before(two.Born) {
			t.Errorf("born %v, before its parent, %v", tree.Born, two.Born)
		}
	}},
	{"a graft that overlaps its parent in time is moved", func(t *testing.T, s *suite) {
		a := s.prepare(t, snapshot.ID{}, shell("echo early > a"))
		s.ahead = time.Minute
		two := s.make(t, snapshot.ID{}, "two", shell("echo 2 > b"))
		s.ahead = 2 * time.Minute
		changes := s.changes(t, a)
		from, err := s.Commit(t.Context(), a, id(snapshot.ID{}, "from"))
		must(t, err)
		tree := s.graft(t, two.ID, from.ID, changes)
		if at := time.Unix(0, s.view(t, tree.ID)["a"].Mtime); at.Before(two.Born) {
			t.Errorf("a file of %v lies above a tree of %v", at, two.Born)
		}
	}},
	{"a graft of what is here, and of a graft", func(t *testing.T, s *suite) {
		from, changes := s.layer(t, snapshot.ID{}, shell("echo 1 > a"))
		two := s.make(t, snapshot.ID{}, "two", shell("echo 2 > b"))
		three := s.make(t, two.ID, "three", shell("echo 3 > c"))
		first := s.graft(t, two.ID, from.ID, changes)
		if again := s.graft(t, two.ID, from.ID, changes); again != first {
			t.Errorf("the second time %+v, want %+v", again, first)
		}
		must(t, s.Remove(t.Context(), from.ID))
		tree := s.graft(t, three.ID, first.ID, changes)
		if l := s.view(t, tree.ID); len(l) != 4 {
			t.Errorf("the tree holds %v", l)
		}
	}},
	{"a graft replaces links, and follows none", func(t *testing.T, s *suite) {
		outside := filepath.Join(s.base, "outside")
		must(t, os.Mkdir(outside, 0o755))
		one := s.make(t, snapshot.ID{}, "one", shell("mkdir d; touch d/gone"))
		two := s.make(t, snapshot.ID{}, "two", shell(fmt.Sprintf("ln -s %s d", outside)))
		from, changes := s.layer(t, one.ID, shell("rm d/gone; echo 1 > d/a"))
		tree := s.graft(t, two.ID, from.ID, changes)
		left, err := os.ReadDir(outside)
		if err != nil || len(left) > 0 {
			t.Errorf("written outside: %v, %v", left, err)
		}
		if l := s.view(t, tree.ID); !isDir(l["d"]) || l["d/a"].What == "" {
			t.Errorf("the tree holds %v", l)
		}
	}},
	{"an opaque directory hides what the new parent has", func(t *testing.T, s *suite) {
		from, err := s.Add(t.Context(), snapshot.ID{}, id(snapshot.ID{}, "from"), func(dir string, w snapshot.Whiteouts) error {
			if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil || w == snapshot.Applied {
				return err
			}
			return opaque(filepath.Join(dir, "d"), w)
		})
		must(t, err)
		changes := []snapshot.Change{{Path: "d"}, {Path: "d", Kind: snapshot.Opaque}}
		two := s.make(t, snapshot.ID{}, "two", shell("mkdir -p d/e; touch d/f"))
		for _, ahead := range []time.Duration{0, time.Hour} {
			s.ahead = ahead
			below := s.make(t, two.ID, fmt.Sprint(ahead), shell("touch d/g h"))
			if l := s.view(t, s.graft(t, below.ID, from.ID, changes).ID); len(l) != 3 {
				t.Errorf("the tree holds %v", l)
			}
		}
	}},
	{"an opaque root hides all of the new parent", func(t *testing.T, s *suite) {
		from, changes := s.layer(t, snapshot.ID{}, shell("mkdir d; touch d/x"))
		changes = slices.Insert(changes, 1, snapshot.Change{Kind: snapshot.Opaque})
		two := s.make(t, snapshot.ID{}, "two", shell("mkdir d; touch d/y z"))
		for _, ahead := range []time.Duration{0, time.Hour} {
			s.ahead = ahead
			below := s.make(t, two.ID, fmt.Sprint(ahead), shell("touch d/g h"))
			tree := s.graft(t, below.ID, from.ID, changes)
			if l := s.view(t, tree.ID); len(l) != 3 || tree.Born.Before(below.Born) {
				t.Errorf("the tree holds %v, born %v above %v", l, tree.Born, below.Born)
			}
		}
	}},
	{"random grafts", func(t *testing.T, s *suite) {
		for seed := range uint64(10) {
			s.randomGraft(t, seed)
		}
	}},
}

// layer makes a tree on parent and returns it with its changes.
func (s *suite) layer(t *testing.T, parent snapshot.ID, change func(root string) error) (snapshot.Tree, []snapshot.Change) {
	t.Helper()
	a := s.prepare(t, parent, change)
	changes := s.changes(t, a)
	tree, err := s.Commit(t.Context(), a, id(parent, "layer"))
	must(t, err)
	return tree, changes
}

func (s *suite) graft(t *testing.T, parent, from snapshot.ID, changes []snapshot.Change) snapshot.Tree {
	t.Helper()
	tree, err := s.Graft(t.Context(), parent, id(parent, "graft"), from, slices.Values(changes))
	must(t, err)
	return tree
}

// randomGraft grafts a random layer onto a random tree, before and after the
// layer's files have become older than it.
func (s *suite) randomGraft(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 11))
	mess := func(root string) error { return scramble(r, root, 40) }
	name := fmt.Sprint(seed)
	one := s.make(t, snapshot.ID{}, "one"+name, mess)
	early := s.make(t, snapshot.ID{}, "two"+name, mess)
	a := s.prepare(t, one.ID, mess)
	changes := s.changes(t, a)
	from, err := s.Commit(t.Context(), a, id(one.ID, "layer"))
	must(t, err)
	s.ahead += time.Minute
	late := s.make(t, snapshot.ID{}, "three"+name, mess)
	s.ahead += time.Minute
	for _, below := range []snapshot.Tree{early, late} {
		// A layer holds the directories that it changes something in: without them
		// it would not say what a link in their place becomes.
		want := patch(s.view(t, below.ID), s.view(t, from.ID), changes)
		got := s.view(t, s.graft(t, below.ID, from.ID, changes).ID)
		for path, f := range want {
			if got[path].What != f.What {
				t.Errorf("seed %d: %q is %q, want %q", seed, path, got[path].What, f.What)
			}
		}
		for path := range got {
			if _, ok := want[path]; !ok {
				t.Errorf("seed %d: %q should not be there", seed, path)
			}
		}
	}
}
