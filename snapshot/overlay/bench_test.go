package overlay

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"builder/image"
	"builder/snapshot"
)

// BenchmarkCommit measures what a step pays for its tree: prepare on ten
// layers, one file, the changes, commit.
func BenchmarkCommit(b *testing.B) {
	base := b.TempDir()
	dir := func() (string, error) { return base, nil }
	s, err := Open(Options{Dir: filepath.Join(base, "store"), Temp: dir, Trash: dir})
	if err != nil {
		b.Fatal(err)
	}
	var top snapshot.ID
	n := uint64(0)
	step := func(parent snapshot.ID) snapshot.ID {
		n++
		var c image.ContentDigest
		binary.BigEndian.PutUint64(c[:], n)
		a, err := s.Prepare(b.Context(), parent)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(a.Dir(), "file"), nil, 0o644); err != nil {
			b.Fatal(err)
		}
		for _, err := range a.Changes(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
		}
		tree, err := s.Commit(b.Context(), a, snapshot.Chain(parent, c))
		if err != nil {
			b.Fatal(err)
		}
		return tree.ID
	}
	for range 10 {
		top = step(top)
	}
	for b.Loop() {
		step(top)
	}
}
