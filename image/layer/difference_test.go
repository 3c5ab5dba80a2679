package layer

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// walked is all that is in a tree, in the order of its paths.
func walked(v View) []Entry {
	var all []Entry
	var in func(dir string)
	in = func(dir string) {
		for _, e := range v.ReadDir(dir) {
			if e.Type == Symlink {
				e.Mode, e.Size = 0, 0 // mean nothing
			}
			all = append(all, e)
			in(e.Path)
		}
	}
	in("")
	return all
}

func TestADifferencePutOnTheLowerTreeIsTheUpperOne(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		var layers []*Index
		for range 1 + r.IntN(5) {
			layers = append(layers, randomIndex(r))
		}
		base := r.IntN(len(layers) + 1)
		below, above := NewStack(layers[:base]...), NewStack(layers...)
		one, err := Difference(below, above)
		if err != nil {
			t.Fatal(err)
		}
		got := NewStack(append(slices.Clone(layers[:base]), one)...)
		if want := walked(above); !reflect.DeepEqual(walked(got), want) {
			t.Fatalf("got %+v\nwant %+v\nby %+v", walked(got), want, one.Entries)
		}
		none, err := Difference(above, got)
		if err != nil {
			t.Fatal(err)
		}
		if len(none.Entries) > 0 {
			t.Fatalf("what is equal differs: %+v", none.Entries)
		}
		for _, e := range one.Entries {
			was, ok := below.Lookup(e.Path)
			if e.Type == Whiteout && !ok {
				t.Fatalf("%q is removed, and was never there", e.Path)
			}
			if is, _ := above.Lookup(e.Path); e.Type != Dir && e.Type != Symlink && ok && reflect.DeepEqual(is, was) {
				t.Fatalf("%q is what it was", e.Path)
			}
		}
	}
}

func TestNamesOfAFileStayItsNamesInADifference(t *testing.T) {
	file := func(p string, digest byte) Entry {
		return Entry{Path: p, Type: File, Mode: 0o644, Size: 1, Digest: [32]byte{digest}}
	}
	link := func(p, first string, digest byte) Entry {
		return Entry{Path: p, Type: Hardlink, Link: first, Mode: 0o644, Size: 1, Digest: [32]byte{digest}}
	}
	index := func(entries ...Entry) *Index {
		x, err := NewIndex(entries)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for name, c := range map[string]struct{ below, above []*Index }{
		"all written anew":      {[]*Index{index(file("a", 1), link("b", "a", 1))}, []*Index{index(file("a", 2), link("b", "a", 2), link("c", "a", 2))}},
		"one written anew":      {[]*Index{index(file("a", 1), link("b", "a", 1), link("c", "a", 1))}, []*Index{index(file("a", 2))}},
		"the first one removed": {[]*Index{index(file("a", 1), link("b", "a", 1), link("c", "a", 1))}, []*Index{index(Entry{Path: "a", Type: Whiteout})}},
		"a name more":           {[]*Index{index(file("a", 1))}, []*Index{index(file("a", 1), link("z", "a", 1))}},
		"two layers":            {nil, []*Index{index(file("a", 1), link("b", "a", 1)), index(file("a", 1), link("c", "a", 1))}},
	} {
		below, above := NewStack(c.below...), NewStack(append(slices.Clone(c.below), c.above...)...)
		one, err := Difference(below, above)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := walked(NewStack(append(slices.Clone(c.below), one)...))
		for i, want := range walked(above) {
			if i >= len(got) || got[i].Path != want.Path || got[i].Digest != want.Digest {
				t.Errorf("%s: got %+v, want %+v", name, got, walked(above))
				break
			}
		}
	}
}
