package layout

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"builder/image"
)

type blobs map[image.Digest][]byte

func (b blobs) Open(_ context.Context, d image.Descriptor) (io.ReadCloser, error) {
	data, ok := b[d.Digest]
	if !ok {
		return nil, fmt.Errorf("no blob %s", d.Digest)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// export makes an image of one layer, an empty tar, and an author.
func export(t *testing.T, author string, names ...string) image.Export {
	t.Helper()
	tar := make([]byte, 1024)
	c := image.Config{Author: author, Architecture: "amd64", OS: "linux", RootFS: image.RootFS{Type: "layers", DiffIDs: []image.Digest{digest.FromBytes(tar)}}}
	config, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	d := image.Descriptor{MediaType: image.OCI.Layer(image.Uncompressed), Digest: digest.FromBytes(tar), Size: 1024}
	p, err := image.Pack(image.OCI, config, []image.Descriptor{d}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := image.Export{Packed: p, Blobs: blobs{d.Digest: tar}}
	for _, name := range names {
		ref, err := image.ParseReference(name)
		if err != nil {
			t.Fatal(err)
		}
		e.References = append(e.References, ref)
	}
	return e
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	first, second := export(t, "a", "app:1", "app:2"), export(t, "b", "app:2")
	for _, e := range []image.Export{first, second} {
		if err := Write(t.Context(), dir, []image.Export{e}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := map[string]image.Digest{}
	for _, e := range l.Entries() {
		p, err := l.Image(t.Context(), e, image.Platform{})
		if err != nil {
			t.Fatal(err)
		}
		got[e.Reference.Familiar()] = p.ID()
		r, err := l.Open(t.Context(), p.Layers[0])
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(r); err != nil || len(data) != 1024 || r.Close() != nil {
			t.Errorf("layer: %d bytes, %v", len(data), err)
		}
	}
	if want := (map[string]image.Digest{"app:1": first.ID(), "app:2": second.ID()}); !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestALayoutLeadsNowhereOutside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e := export(t, "a", "app:1")
	if err := Write(t.Context(), dir, []image.Export{e}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, image.LayoutPath(e.Layers[0].Digest))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, path); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Open(t.Context(), e.Layers[0]); err == nil {
		t.Error("a link out of the layout was followed")
	}
	if err := os.Remove(filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if err := Write(t.Context(), dir, []image.Export{e}); err == nil {
		t.Error("a link out of the layout was read")
	}
	if data, err := os.ReadFile(outside); err != nil || string(data) != "secret" {
		t.Errorf("the file outside is %q, %v", data, err)
	}
}

func TestADamagedBlobIsNoticed(t *testing.T) {
	dir := t.TempDir()
	e := export(t, "a", "app:1")
	if err := Write(t.Context(), dir, []image.Export{e}); err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(e.ConfigBytes, []byte("amd64"), []byte("arm64"), 1)
	if err := os.WriteFile(filepath.Join(dir, image.LayoutPath(e.Config.Digest)), changed, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Image(t.Context(), l.Entries()[0], image.Platform{}); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("got %v", err)
	}
}

func TestSkopeoReadsALayout(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is not installed")
	}
	dir := t.TempDir()
	if err := Write(t.Context(), dir, []image.Export{export(t, "a", "app:1"), export(t, "b", "app:2")}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "skopeo", "inspect", "--config", "oci:"+dir+":2").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"author": "b"`) {
		t.Errorf("%v\n%s", err, out)
	}
}
