package snapshottest

import (
	"path/filepath"
	"testing"

	"builder/snapshot"
)

// keepChecks are about active trees that outlive the process that made them.
var keepChecks = []check{
	{"a kept tree is found again with all its changes", func(t *testing.T, s *suite) {
		parent := s.make(t, snapshot.ID{}, "a", shell("mkdir -p a/b; echo 1 > a/b/c; echo 2 > d"))
		dir := filepath.Join(s.dir(t, "kept"), "tree")
		a, err := s.Keep(t.Context(), parent.ID, dir)
		must(t, err)
		must(t, mounted(a.Mount(), shell("rm d; echo 3 > e")))
		other := s.reopen(t)
		a, err = other.Keep(t.Context(), parent.ID, dir)
		must(t, err)
		must(t, mounted(a.Mount(), shell("test ! -e d && test -e e && echo 4 > a/f")))
		kinds := map[string]snapshot.Kind{}
		for c, err := range a.Changes(t.Context()) {
			must(t, err)
			kinds[c.Path] = c.Kind
		}
		for path, want := range map[string]snapshot.Kind{"d": snapshot.Delete, "e": snapshot.Modify, "a/f": snapshot.Modify} {
			if got, ok := kinds[path]; !ok || got != want {
				t.Errorf("%s: change %v, %v, want %v", path, got, ok, want)
			}
		}
		want := s.look(t, a.Mount())
		tree, err := other.Commit(t.Context(), a, id(parent.ID, "b"))
		must(t, err)
		sameTimes(t, "committed", s.view(t, tree.ID), want)
	}},
	{"a kept tree on a missing one is ErrNotFound", func(t *testing.T, s *suite) {
		missing := id(snapshot.ID{}, "missing")
		if a, err := s.Keep(t.Context(), missing, filepath.Join(s.base, "kept")); err == nil {
			t.Errorf("got %v", a)
		}
	}},
}
