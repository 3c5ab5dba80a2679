package layer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// merged is the tree of layers as a map: what a Stack has to agree with.
type merged map[string]Entry

func (m merged) apply(x *Index) {
	remove := func(path string, self bool) {
		for p := range m {
			if p == path && self || path == "" || isWithin(p, path) {
				delete(m, p)
			}
		}
	}
	for _, e := range x.Entries {
		if e.Type == Whiteout {
			remove(e.Path, true)
		}
		if e.Opaque {
			remove(e.Path, false)
		}
	}
	for _, e := range x.Entries {
		if e.Type == Whiteout || e.Path == "" {
			continue
		}
		old, ok := m[e.Path]
		if e.Type != Dir {
			remove(e.Path, false)
		}
		if e.Parent && ok && old.Type == Dir {
			continue
		}
		e.Parent, e.Opaque = false, false
		m[e.Path] = e
	}
}

func (m merged) children(dir string) []Entry {
	var list []Entry
	for p, e := range m {
		if parent, _ := split(p); parent == dir {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, byPath)
	return list
}

// randomIndex returns a layer that adds, removes and hides at random. Only
// NewIndex knows what a layer may look like: what it refuses is left out.
func randomIndex(r *rand.Rand) *Index {
	names := []string{"a", "b", "c", "a-"}
	types := []Type{Dir, Dir, Dir, Dir, File, Symlink, Whiteout}
	entries := map[string]Entry{}
	for range r.IntN(40) {
		path := ""
		for range 1 + r.IntN(4) {
			path = join(path, names[r.IntN(len(names))])
			if old, ok := entries[path]; ok && old.Type == Dir {
				continue
			}
			e := Entry{Path: path, Type: types[r.IntN(len(types))], Mode: uint32(r.IntN(512)), Size: r.Int64N(100)}
			if e.Type == Dir {
				e.Size, e.Opaque, e.Parent = 0, r.IntN(5) == 0, r.IntN(3) == 0
			}
			if e.Type == Whiteout {
				e = Entry{Path: path, Type: Whiteout}
			}
			if _, ok := entries[path]; !ok {
				entries[path] = e
			}
			if entries[path].Type != Dir {
				break
			}
		}
	}
	list := make([]Entry, 0, len(entries))
	for _, e := range entries {
		list = append(list, e)
	}
	if r.IntN(20) == 0 {
		list = append(list, Entry{Type: Dir, Mode: 0o755, Opaque: true, Parent: true})
	}
	ix, err := NewIndex(list)
	if err != nil {
		panic(err)
	}
	return ix
}

func TestAStackIsTheMergedTree(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 3))
		m := merged{}
		var layers []*Index
		for range 1 + r.IntN(6) {
			x := randomIndex(r)
			layers = append(layers, x)
			m.apply(x)
		}
		s := NewStack(layers...)
		paths := []string{"", "a", "a/b", "a/b/c", "a-/a", "b/b/b/b", "c/a", "nothing/here"}
		for p := range m {
			paths = append(paths, p)
		}
		rand.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		for _, p := range paths {
			got, ok := s.Lookup(p)
			want, wantOK := m[p]
			if p == "" {
				want, wantOK = Entry{Type: Dir, Mode: 0o755}, true
			}
			if ok != wantOK || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d: Lookup(%q) = %+v, %v\nwant %+v, %v", seed, p, got, ok, want, wantOK)
			}
			sameEntries(t, fmt.Sprintf("seed %d: ReadDir(%q)", seed, p), s.ReadDir(p), m.children(p))
		}
	}
}

func mustIndex(t testing.TB, entries ...Entry) *Index {
	t.Helper()
	ix, err := NewIndex(entries)
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func TestLayerSaysWhereAFileStands(t *testing.T) {
	s := NewStack(
		mustIndex(t, Entry{Path: "a", Type: Dir}, Entry{Path: "a/x", Type: File}, Entry{Path: "a/y", Type: File}),
		mustIndex(t, Entry{Path: "a", Type: Dir, Parent: true}, Entry{Path: "a/x", Type: File}),
		mustIndex(t, Entry{Path: "a", Type: Dir, Parent: true}, Entry{Path: "a/z", Type: Whiteout}),
	)
	for path, want := range map[string]int{"a/x": 1, "a/y": 0} {
		if got, ok := s.Layer(path); !ok || got != want {
			t.Errorf("Layer(%q) = %d, %v, want %d", path, got, ok, want)
		}
	}
	if _, ok := s.Layer("a/z"); ok {
		t.Error("a path that is gone is in a layer")
	}
}

func TestNamesOfOneFileAcrossLayers(t *testing.T) {
	base := mustIndex(t,
		Entry{Path: "a", Type: File, Size: 7, Mode: 0o640},
		Entry{Path: "b", Type: Hardlink, Link: "a"},
		Entry{Path: "c", Type: Hardlink, Link: "a"},
	)
	check := func(s *Stack, path string, typ Type, link string, size int64) {
		t.Helper()
		e, ok := s.Lookup(path)
		if !ok || e.Type != typ || e.Link != link || e.Size != size {
			t.Errorf("Lookup(%q) = %+v, %v, want type %d, link %q, size %d", path, e, ok, typ, link, size)
		}
	}
	check(NewStack(base), "c", Hardlink, "a", 7)

	gone := NewStack(base, mustIndex(t, Entry{Path: "a", Type: Whiteout}))
	check(gone, "b", File, "", 7)
	check(gone, "c", Hardlink, "b", 7)

	replaced := NewStack(base, mustIndex(t, Entry{Path: "a", Type: File, Size: 1}))
	check(replaced, "a", File, "", 1)
	check(replaced, "b", File, "", 7)

	above := NewStack(base, mustIndex(t, Entry{Path: "d", Type: Hardlink, Link: "c"}))
	check(above, "d", File, "", 7)
	if i, _ := above.Layer("d"); i != 1 {
		t.Errorf("the link to a lower layer stands in layer %d", i)
	}
}

// Only regular files are shown as links of each other.
func TestNamesOfOneSymbolicLink(t *testing.T) {
	s := NewStack(mustIndex(t,
		Entry{Path: "a", Type: Symlink, Link: "to", UID: 5, Mode: 0o777},
		Entry{Path: "b", Type: Hardlink, Link: "a"},
		Entry{Path: "c", Type: Char, Major: 1, Minor: 3},
		Entry{Path: "d", Type: Hardlink, Link: "c"},
	))
	if e, ok := s.Lookup("b"); !ok || e.Path != "b" || e.Type != Symlink || e.Link != "to" || e.UID != 5 {
		t.Errorf("got %+v, %v", e, ok)
	}
	list := s.ReadDir("")
	if e := list[3]; e.Path != "d" || e.Type != Char || e.Major != 1 || e.Minor != 3 {
		t.Errorf("got %+v", e)
	}
}

func TestAStackServesManyAtOnce(t *testing.T) {
	s := NewStack(syntheticIndex(3000), syntheticIndex(1000))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			dir := fmt.Sprintf("dir%03d", i%2)
			for _, e := range s.ReadDir(dir) {
				if !strings.HasPrefix(e.Path, dir+"/") || len(s.ReadDir(e.Path)) == 0 {
					t.Errorf("%s: wrong directory or empty", e.Path)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkLookup(b *testing.B) {
	ix := syntheticIndex(50_000)
	s := NewStack(ix, syntheticIndex(100), syntheticIndex(1000), syntheticIndex(10))
	b.ReportAllocs()
	for b.Loop() {
		for i := range ix.Entries {
			if _, ok := s.Lookup(ix.Entries[i].Path); !ok {
				b.Fatal(ix.Entries[i].Path)
			}
		}
	}
}
