package depot_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"builder/image"
	"builder/internal/depot"
	"builder/snapshot"
	"builder/snapshot/overlay"
)

// newStaging is newBench with a snapshotter that can do without the tree below.
func newStaging(t *testing.T) *bench {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root makes whiteouts")
	}
	b := newBench(t)
	temp := filepath.Join(b.dir, "temp")
	o := overlay.Options{Dir: b.dir, Temp: func() (string, error) { return temp, nil }, Trash: func() (string, error) {
		trash := filepath.Join(b.dir, "trash")
		return trash, os.MkdirAll(trash, 0o700)
	}}
	snaps, err := overlay.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	b.snaps = snaps
	b.Depot, err = depot.Open(depot.Options{Dir: filepath.Join(b.dir, "layers"), Temp: temp, Blobs: b.store, Snapshots: snaps})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// archive makes an uncompressed layer of headers, whose files hold their names.
func archive(t *testing.T, headers ...tar.Header) ([]byte, image.Layer) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.ModTime = h.ModTime.AddDate(2000, 0, 0)
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, h.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	id := digest.FromBytes(b.Bytes())
	blob := image.Descriptor{MediaType: image.OCI.Layer(image.Uncompressed), Digest: id, Size: int64(b.Len())}
	return b.Bytes(), image.Layer{Content: image.ForeignContent(id), DiffID: id, Blob: &blob}
}

func dir(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}
}
func file(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }

// strange is an image whose upper layers lean on the lower ones.
func strange(t *testing.T) (layers []image.Layer, bytes map[image.Digest][]byte) {
	t.Helper()
	bytes = map[image.Digest][]byte{}
	for _, headers := range [][]tar.Header{
		{dir("a/", 0o700), file("a/one"), dir("b/", 0o755), file("b/gone"), {Typeflag: tar.TypeSymlink, Name: "link", Linkname: "a"}},
		{dir("b/", 0o755), file("b/.wh.gone"), file("b/two"), file(".wh.never")},
		{file("a/implied")},
		{file("link/through")},
		{{Typeflag: tar.TypeLink, Name: "hard", Linkname: "a/one", Mode: 0o644}},
	} {
		data, l := archive(t, headers...)
		layers = append(layers, l)
		bytes[l.DiffID] = data
	}
	return layers, bytes
}

// contents lists what the diffs of an image's trees hold.
func contents(t *testing.T, b *bench, layers []image.Layer) (all []string) {
	t.Helper()
	var id snapshot.ID
	for i, l := range layers {
		id = snapshot.Chain(id, l.Content)
		tree, ok, err := b.snaps.Tree(t.Context(), id)
		if err != nil || !ok {
			t.Fatalf("layer %d has no tree: %v", i, err)
		}
		err = filepath.WalkDir(tree.Dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			st, err := e.Info()
			at, _ := filepath.Rel(tree.Dir, path)
			mtime := st.ModTime().Unix()
			if at == "." || st.Mode()&fs.ModeCharDevice != 0 {
				mtime = 0
			}
			if mtime > time.Now().Unix()-1000 {
				t.Errorf("layer %d has %s as of now", i, at)
			}
			all = append(all, fmt.Sprintf("%d %s %s %d", i, at, st.Mode(), mtime))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		ix, err := b.Index(t.Context(), l.Content)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ix.Content().String())
	}
	return all
}

// What is unpacked while it arrives is what is unpacked from blobs, one layer
// after the other, whichever layer comes first.
func TestUnpackingWhileArrivingChangesNothing(t *testing.T) {
	layers, data := strange(t)
	slow := newStaging(t)
	chain := make([]image.ContentDigest, len(layers))
	for i, l := range layers {
		if _, err := slow.store.Put(t.Context(), data[l.DiffID]); err != nil {
			t.Fatal(err)
		}
		var err error
		if chain[i], err = slow.AddBase(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := slow.Tree(t.Context(), chain); err != nil {
		t.Fatal(err)
	}
	want := contents(t, slow, layers)
	for _, here := range []int{0, 2, len(layers)} { // so many blobs are here already
		b := newStaging(t)
		_, err := b.Receive(t.Context(), depot.Incoming{Layers: layers, Parallel: 3, Bring: func(ctx context.Context, l image.Layer, tee io.Writer) error {
			bytes := data[l.DiffID]
			if i := slices.IndexFunc(layers, func(o image.Layer) bool { return o.DiffID == l.DiffID }); i >= here {
				for at := range bytes {
					if _, err := tee.Write(bytes[at : at+1]); err != nil {
						return err
					}
				}
			}
			_, err := b.store.Put(ctx, bytes)
			return err
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := contents(t, b, layers); !slices.Equal(got, want) {
			t.Errorf("%d here: got %q\nwant %q", here, got, want)
		}
		left, err := os.ReadDir(filepath.Join(b.dir, "temp"))
		if err != nil || len(left) != 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
}

// A layer whose tree is here says nothing about a blob that claims to be it.
func TestABlobIsCheckedThoughItsLayerIsHere(t *testing.T) {
	layers, data := strange(t)
	b := newStaging(t)
	bring := func(ctx context.Context, l image.Layer, tee io.Writer) error {
		if _, err := tee.Write(data[l.Blob.Digest]); err != nil {
			return err
		}
		_, err := b.store.Put(ctx, data[l.Blob.Digest])
		return err
	}
	if _, err := b.Receive(t.Context(), depot.Incoming{Layers: layers[:1], Bring: bring}); err != nil {
		t.Fatal(err)
	}
	if n, ok := b.TarSize(image.Layer{DiffID: layers[0].DiffID}); !ok || n != int64(len(data[layers[0].DiffID])) {
		t.Errorf("the tar has %d bytes, want %d", n, len(data[layers[0].DiffID]))
	}
	if n, ok := b.TarSize(layers[1]); ok {
		t.Errorf("a layer that nobody has read has %d bytes", n)
	}
	if _, err := b.Receive(t.Context(), depot.Incoming{Layers: layers[:1], Bring: bring}); err != nil {
		t.Errorf("the right blob again: %v", err)
	}
	wrong := layers[0]
	wrong.Blob = layers[1].Blob
	if _, err := b.Receive(t.Context(), depot.Incoming{Layers: []image.Layer{wrong}, Bring: bring}); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("another blob: %v", err)
	}
}

// A blob that does not come, or is not the config's layer, leaves no files.
func TestWhatArrivesWrongLeavesNothing(t *testing.T) {
	layers, data := strange(t)
	never := errors.New("never")
	wrong := layers[1]
	wrong.DiffID = digest.FromString("something else")
	wrong.Content = image.ForeignContent(wrong.DiffID)
	for name, c := range map[string]struct {
		layers []image.Layer
		err    error
	}{
		"bring":   {layers[:3], never},
		"diff ID": {[]image.Layer{wrong, layers[0]}, nil},
	} {
		b := newStaging(t)
		_, err := b.Receive(t.Context(), depot.Incoming{Layers: c.layers, Parallel: 3, Bring: func(ctx context.Context, l image.Layer, tee io.Writer) error {
			if _, err := tee.Write(data[l.Blob.Digest]); err != nil {
				return err
			}
			if l.DiffID == layers[2].DiffID {
				return c.err
			}
			_, err := b.store.Put(ctx, data[l.Blob.Digest])
			return err
		}})
		if err == nil || c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, at := range []string{"temp", "trees", "diffs"} {
			left, err := os.ReadDir(filepath.Join(b.dir, at))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if at == "diffs" {
				left = slices.DeleteFunc(left, func(e fs.DirEntry) bool { return e.Name() == "empty" })
			}
			left = slices.DeleteFunc(left, func(e fs.DirEntry) bool { return e.Name() == "lock" })
			if len(left) != 0 {
				t.Errorf("%s: left in %s: %v", name, at, left)
			}
		}
	}
}
