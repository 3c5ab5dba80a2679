package overlay

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"builder/image"
	"builder/snapshot"
)

func newTree(n int) tree {
	t := tree{id: snapshot.ID{3}, parent: snapshot.ID{2}}
	for i := range n {
		t.diffs = append(t.diffs, diff{"ABCDEFGHIJKLMNO" + string(rune('A'+i%26)), int64(i), int64(i) * 1e9})
	}
	return t
}

// TestTreeFile holds the format: a change to it is a new version.
func TestTreeFile(t *testing.T) {
	const want = `builder overlay tree 1 trusted
id 0300000000000000000000000000000000000000000000000000000000000000
parent 0200000000000000000000000000000000000000000000000000000000000000
diff ABCDEFGHIJKLMNOA 0 0
diff ABCDEFGHIJKLMNOB 1 1000000000
sum 988eb5a79477d4dd44183c5e69d06d93a453d9aa11ae970e443d3d35327b8bc9
`
	if got := newTree(2).encode(false); string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, user := range []bool{false, true} {
		text := newTree(400).encode(user)
		got, err := decode(text, user)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.encode(user), text) {
			t.Error("decode and encode changed it")
		}
		if _, err := decode(text, !user); err == nil {
			t.Error("taken for a tree with the other marks")
		}
	}
}

func TestDamagedTreeFileIsNoTree(t *testing.T) {
	text := newTree(3).encode(false)
	for i := range text {
		for bit := range 8 {
			damaged := bytes.Clone(text)
			damaged[i] ^= 1 << bit
			if _, err := decode(damaged, false); err == nil {
				t.Fatalf("bit %d of byte %d flipped, and it is still a tree", bit, i)
			}
		}
		if _, err := decode(text[:i], false); err == nil {
			t.Fatalf("cut at %d, and it is still a tree", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(newTree(2).encode(false))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := decode(text, false)
		if err == nil && !bytes.Equal(got.encode(false), text) {
			t.Errorf("accepted, but written as %q", got.encode(false))
		}
	})
}

// newStore opens a store in directories of its own.
func newStore(t *testing.T) *Store {
	t.Helper()
	base := t.TempDir()
	dir := func(name string) func() (string, error) {
		path := filepath.Join(base, name)
		return func() (string, error) { return path, os.MkdirAll(path, 0o755) }
	}
	s, err := Open(Options{Dir: filepath.Join(base, "store"), Temp: dir("temp"), Trash: dir("trash"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// add makes a tree by writing one file.
func add(t *testing.T, s *Store, parent snapshot.ID, name string) snapshot.Tree {
	t.Helper()
	tree, err := s.Add(t.Context(), parent, snapshot.Chain(parent, image.ContentDigest{7}), func(dir string, _ snapshot.Whiteouts) error {
		return os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestDamagedTreeIsMadeAgain(t *testing.T) {
	for name, damage := range map[string]func(s *Store, tree snapshot.Tree) error{
		"torn file":   func(s *Store, tree snapshot.Tree) error { return os.Truncate(s.treePath(tree.ID.String()), 100) },
		"no diff":     func(s *Store, tree snapshot.Tree) error { return os.RemoveAll(filepath.Dir(tree.Dir)) },
		"a directory": func(s *Store, tree snapshot.Tree) error { return replaceByDir(s.treePath(tree.ID.String())) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			tree := add(t, s, snapshot.ID{}, "a")
			if err := damage(s, tree); err != nil {
				t.Fatal(err)
			}
			if _, ok, err := s.Tree(t.Context(), tree.ID); ok || err != nil {
				t.Fatalf("the damaged tree: %v, %v", ok, err)
			}
			again := add(t, s, snapshot.ID{}, "a")
			if _, err := os.Lstat(filepath.Join(again.Dir, "a")); err != nil {
				t.Error(err)
			}
			if _, ok, err := s.Tree(t.Context(), tree.ID); !ok || err != nil {
				t.Errorf("made again: %v, %v", ok, err)
			}
		})
	}
}

func replaceByDir(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(path, "sub"), 0o755)
}
