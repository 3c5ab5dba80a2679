package depot_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"builder/image"
	"builder/image/layer"
	"builder/image/store"
	"builder/internal/depot"
	"builder/snapshot"
	"builder/snapshot/plain"
)

// bench is a depot over plain directories, which any user can make.
type bench struct {
	*depot.Depot
	store *store.Store
	snaps snapshot.Snapshotter
	dir   string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	temp := filepath.Join(dir, "temp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	trash := func() (string, error) {
		d := filepath.Join(temp, "trash")
		return d, os.MkdirAll(d, 0o700)
	}
	s, err := store.Open(dir, store.Options{Temp: temp})
	if err != nil {
		t.Fatal(err)
	}
	snaps, err := plain.Open(plain.Options{Dir: dir, Temp: func() (string, error) { return temp, nil }, Trash: trash})
	if err != nil {
		t.Fatal(err)
	}
	d, err := depot.Open(depot.Options{Dir: filepath.Join(dir, "layers"), Temp: temp, Blobs: s, Snapshots: snaps})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{d, s, snaps, dir}
}

// texts is a layer of files with the given contents, and their source.
type texts map[string]string

func (x texts) Open(_ context.Context, e layer.Entry) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader([]byte(x[e.Path]))), nil
}

func (x texts) index(t *testing.T) *layer.Index {
	t.Helper()
	entries := []layer.Entry{{Path: "d", Type: layer.Dir, Mode: 0o755, UID: os.Getuid(), GID: os.Getgid()}}
	for path, text := range x {
		entries = append(entries, layer.Entry{
			Path: path, Type: layer.File, Mode: 0o644, UID: os.Getuid(), GID: os.Getgid(),
			Size: int64(len(text)), Digest: sha256.Sum256([]byte(text)), Mtime: 1e18,
		})
	}
	ix, err := layer.NewIndex(entries)
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

var content = texts{"a": "first\n", "d/b": "second\n", "d/empty": ""}

// A layer has one tar, whether it was written as files or straight as a tar.
func TestOneTarWhateverTheForm(t *testing.T) {
	asTree, asTar := newBench(t), newBench(t)
	chain, err := asTree.WriteTree(t.Context(), nil, content.index(t), content)
	if err != nil {
		t.Fatal(err)
	}
	stamps := []int64{318211200 + 256}
	c, err := asTar.WriteTar(t.Context(), content.index(t), content, stamps)
	if err != nil {
		t.Fatal(err)
	}
	if chain[0] != c {
		t.Fatalf("contents %s and %s", chain[0], c)
	}
	one, err := asTree.Seal(t.Context(), c, stamps)
	if err != nil {
		t.Fatal(err)
	}
	two, err := asTar.Seal(t.Context(), c, stamps)
	if err != nil {
		t.Fatal(err)
	}
	if one.DiffID != two.DiffID || one.Size != two.Size {
		t.Errorf("the tree's tar is %s, the other %s", one.DiffID, two.DiffID)
	}
	for _, b := range []*bench{asTree, asTar} {
		if got := readTar(t, b, one); digest.FromBytes(got) != one.DiffID {
			t.Errorf("the tar read has another digest than %s", one.DiffID)
		}
	}
}

func readTar(t *testing.T, b *bench, l image.Layer) []byte {
	t.Helper()
	r, err := b.Tar(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

// A tree is made out of a tar when somebody needs it, and the tar with other
// stamps out of either.
func TestFormsAreMadeOfOneAnother(t *testing.T) {
	b := newBench(t)
	c, err := b.WriteTar(t.Context(), content.index(t), content, []int64{318211200})
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Seal(t.Context(), c, []int64{400000000})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := b.Tree(t.Context(), []image.ContentDigest{c})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(tree.Dir, "d/b")); err != nil || string(got) != content["d/b"] {
		t.Errorf("read %q, %v", got, err)
	}
	if got := digest.FromBytes(readTar(t, b, other)); got != other.DiffID {
		t.Errorf("tar with other stamps is %s, want %s", got, other.DiffID)
	}
}

// A layer whose files are not what they were is found and forgotten.
func TestVerifyForgetsWhatIsTorn(t *testing.T) {
	b := newBench(t)
	chain, err := b.WriteTree(t.Context(), nil, content.index(t), content)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := b.Verify(t.Context(), chain[0]); !ok || err != nil {
		t.Fatalf("a whole layer: %v, %v", ok, err)
	}
	tree, err := b.Tree(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree.Dir, "a"), []byte("FIRST\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if ok, err := b.Verify(t.Context(), chain[0]); ok || err != nil {
		t.Errorf("a torn layer: %v, %v", ok, err)
	}
	if ok, err := b.Has(t.Context(), chain[0]); ok || err != nil {
		t.Errorf("it is still here: %v, %v", ok, err)
	}
	if _, err := b.Tree(t.Context(), chain); !errors.Is(err, depot.ErrGone) {
		t.Errorf("its tree: %v", err)
	}
}

// A foreign layer is unpacked only if its tar is what the config says, and a
// failure leaves no tree.
func TestForeignLayerIsVerified(t *testing.T) {
	from := newBench(t)
	c, err := from.WriteTar(t.Context(), content.index(t), content, []int64{318211200})
	if err != nil {
		t.Fatal(err)
	}
	made, err := from.Seal(t.Context(), c, []int64{318211200})
	if err != nil {
		t.Fatal(err)
	}
	tar := readTar(t, from, made)
	b := newBench(t)
	d, err := b.store.Put(t.Context(), tar)
	if err != nil {
		t.Fatal(err)
	}
	blob := image.Descriptor{MediaType: image.OCI.Layer(image.Uncompressed), Digest: d, Size: int64(len(tar))}
	wrong := image.Layer{DiffID: digest.FromString("something else"), Blob: &blob}
	bad, err := b.AddBase(t.Context(), wrong)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Tree(t.Context(), []image.ContentDigest{bad}); err == nil {
		t.Error("a layer with another diff ID was unpacked")
	}
	if _, ok, err := b.snaps.Tree(t.Context(), snapshot.Chain(snapshot.ID{}, bad)); ok || err != nil {
		t.Errorf("its tree is here: %v, %v", ok, err)
	}
	good, err := b.AddBase(t.Context(), image.Layer{DiffID: made.DiffID, Blob: &blob})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := b.Tree(t.Context(), []image.ContentDigest{good})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(tree.Dir, "a")); err != nil || string(got) != content["a"] {
		t.Errorf("read %q, %v", got, err)
	}
}

// A base that is known by a blob which is gone is known by the next one.
func TestBaseFollowsItsBlob(t *testing.T) {
	b := newBench(t)
	c, err := b.WriteTar(t.Context(), content.index(t), content, []int64{318211200})
	if err != nil {
		t.Fatal(err)
	}
	made, err := b.Seal(t.Context(), c, []int64{318211200})
	if err != nil {
		t.Fatal(err)
	}
	gone := image.Descriptor{MediaType: image.OCI.Layer(image.Gzip), Digest: digest.FromString("gone"), Size: 4}
	here := image.Descriptor{MediaType: image.OCI.Layer(image.Uncompressed), Digest: made.DiffID, Size: made.Size}
	for _, blob := range []image.Descriptor{gone, here} {
		if _, err := b.AddBase(t.Context(), image.Layer{DiffID: made.DiffID, Blob: &blob}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Tree(t.Context(), []image.ContentDigest{image.ForeignContent(made.DiffID)}); err != nil {
		t.Error(err)
	}
}

// A torn index of a layer that came from elsewhere is made again.
func TestTornIndexIsMadeAgain(t *testing.T) {
	b := newBench(t)
	c, err := b.WriteTar(t.Context(), content.index(t), content, []int64{318211200})
	if err != nil {
		t.Fatal(err)
	}
	made, err := b.Seal(t.Context(), c, []int64{318211200})
	if err != nil {
		t.Fatal(err)
	}
	blob := image.Descriptor{MediaType: image.OCI.Layer(image.Uncompressed), Digest: made.DiffID, Size: made.Size}
	base, err := b.AddBase(t.Context(), image.Layer{DiffID: made.DiffID, Blob: &blob})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(b.dir, "layers", base.String()[:2], base.String(), "index")
	if err := os.WriteFile(path, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	ix, err := b.Index(t.Context(), base)
	if err != nil || len(ix.Entries) != len(content)+1 {
		t.Errorf("index %v, %v", ix, err)
	}
}
