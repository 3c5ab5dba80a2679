package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// export makes an image of a layer for each text, which is in the file "f".
func export(t *testing.T, types image.MediaTypes, compression image.Compression, names []string, texts ...string) image.Export {
	t.Helper()
	created := time.Unix(1e9, 0).UTC()
	c := image.Config{Created: &created, Architecture: "amd64", OS: "linux", RootFS: image.RootFS{Type: "layers", DiffIDs: []image.Digest{}}}
	b := blobs{}
	var layers []image.Descriptor
	for _, text := range texts {
		plain := tarOf(t, &tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644}, text)
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromBytes(plain))
		c.History = append(c.History, image.History{CreatedBy: "COPY f /"})
		data := plain
		if compression == image.Gzip {
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			if _, err := z.Write(plain); err != nil || z.Close() != nil {
				t.Fatal(err)
			}
			data = packed.Bytes()
		}
		d := image.Descriptor{MediaType: types.Layer(compression), Digest: digest.FromBytes(data), Size: int64(len(data))}
		b[d.Digest] = data
		layers = append(layers, d)
	}
	config, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	p, err := image.Pack(types, config, layers, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := image.Export{Packed: p, Blobs: b}
	for _, name := range names {
		ref, err := image.ParseReference(name)
		if err != nil {
			t.Fatal(err)
		}
		e.References = append(e.References, ref)
	}
	return e
}

func tarOf(t *testing.T, headersAndTexts ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(headersAndTexts); i += 2 {
		h, text := headersAndTexts[i].(*tar.Header), headersAndTexts[i+1].(string)
		h.Size = int64(len(text))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, o Options, images ...image.Export) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(t.Context(), &b, images, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t *testing.T, data []byte) *Archive {
	t.Helper()
	a, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, o := range []Options{{}, {Docker: true}} {
		for _, c := range []image.Compression{image.Gzip, image.Uncompressed} {
			a := export(t, image.OCI, c, []string{"app:1", "example.com/app:2"}, "one", "two", "one")
			b := export(t, image.OCI, c, nil, "two", "three")
			data := write(t, o, a, b)
			if again := write(t, o, a, b); !bytes.Equal(data, again) {
				t.Error("two archives of the same images differ")
			}
			got := read(t, data)
			entries := got.Entries()
			if len(entries) != 2 || len(entries[0].References) != 2 || len(entries[1].References) != 0 {
				t.Fatalf("entries: %+v", entries)
			}
			for i, want := range []image.Export{a, b} {
				p, err := got.Image(t.Context(), entries[i], image.Platform{OS: "linux", Architecture: "amd64"})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.Packed, p); diff != "" {
					t.Error(diff)
				}
				for _, l := range p.Layers {
					same(t, want.Blobs, got, l)
				}
			}
		}
	}
}

func same(t *testing.T, want, got image.Blobs, d image.Descriptor) {
	t.Helper()
	texts := make([]string, 2)
	for i, b := range []image.Blobs{want, got} {
		r, err := b.Open(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil || r.Close() != nil {
			t.Fatal(err)
		}
		texts[i] = string(data)
	}
	if texts[0] != texts[1] {
		t.Errorf("blob %s is not as it was", d.Digest)
	}
}

func TestDockerArchiveWithoutLayout(t *testing.T) {
	e := export(t, image.Docker, image.Uncompressed, nil, "one")
	layer := string(e.Blobs.(blobs)[e.Layers[0].Digest])
	manifest, err := json.Marshal([]dockerImage{{Config: "c.json", RepoTags: []string{"app:1", "BAD:1"}, Layers: []string{"a/layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	data := tarOf(t, &tar.Header{Name: "b/layer.tar", Typeflag: tar.TypeReg}, layer,
		&tar.Header{Name: "a/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../b/layer.tar"}, "",
		&tar.Header{Name: "./c.json", Typeflag: tar.TypeReg}, string(e.ConfigBytes),
		&tar.Header{Name: "manifest.json", Typeflag: tar.TypeReg}, string(manifest))
	a := read(t, data)
	if n := len(a.Entries()); n != 1 || len(a.Entries()[0].References) != 1 {
		t.Fatalf("entries: %+v", a.Entries())
	}
	p, err := a.Image(t.Context(), a.Entries()[0], image.Platform{})
	if err != nil || p.ID() != e.ID() || p.Manifest.Digest != e.Manifest.Digest {
		t.Fatalf("got %s, %v", p.ID(), err)
	}
	same(t, e.Blobs, a, p.Layers[0])
}

func TestHostileArchivesAreRefused(t *testing.T) {
	reg := func(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeReg} }
	config := `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`
	wrong := strings.Repeat("0", 64)
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":"sha256:%s","size":2}]}`, image.OCI.Manifest(), wrong)
	for name, data := range map[string][]byte{
		"nothing in it":       tarOf(t),
		"no tar":              []byte(strings.Repeat("x", 2000)),
		"a directory outside": tarOf(t, &tar.Header{Name: "manifest.json", Typeflag: tar.TypeSymlink, Linkname: "../../../../etc/passwd"}, ""),
		"a loop":              tarOf(t, &tar.Header{Name: "manifest.json", Typeflag: tar.TypeSymlink, Linkname: "manifest.json"}, ""),
		"a huge index":        tarOf(t, reg("index.json"), strings.Repeat(" ", image.MaxManifest+1)),
		"a wrong digest":      tarOf(t, reg("index.json"), index, reg("blobs/sha256/"+wrong), "{}"),
		"a path for a digest": tarOf(t, reg("index.json"), strings.Replace(index, wrong, "../../x", 1)),
		"layers for none":     tarOf(t, reg("manifest.json"), `[{"Config":"c","Layers":["c"]}]`, reg("c"), config),
		"another version":     tarOf(t, reg("index.json"), `{"schemaVersion":1}`),
	} {
		a, err := Open(bytes.NewReader(data), int64(len(data)))
		if err == nil && len(a.Entries()) > 0 {
			_, err = a.Image(t.Context(), a.Entries()[0], image.Platform{})
		}
		if err == nil {
			t.Errorf("%s: the archive was read", name)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for _, e := range a.Entries() {
			p, err := a.Image(t.Context(), e, image.Platform{OS: "linux", Architecture: "amd64"})
			if err == nil && len(p.Layers) != len(p.DiffIDs) {
				t.Error("layers and diff IDs differ in number")
			}
		}
	})
}

func TestABlobThatIsTooShortFails(t *testing.T) {
	e := export(t, image.OCI, image.Gzip, nil, "one")
	b := e.Blobs.(blobs)
	b[e.Layers[0].Digest] = b[e.Layers[0].Digest][1:]
	if err := Write(t.Context(), io.Discard, []image.Export{e}, Options{}); err == nil {
		t.Error("an archive with a short layer was written")
	}
}

// run calls one of the tools that judge what is written here.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestOthersReadWhatIsWritten(t *testing.T) {
	e := export(t, image.OCI, image.Gzip, []string{"app:1"}, "one", "two")
	dir := t.TempDir()
	oci, docker := filepath.Join(dir, "oci.tar"), filepath.Join(dir, "docker.tar")
	d := export(t, image.Docker, image.Gzip, []string{"app:1", "app:2"}, "one", "two")
	for path, data := range map[string][]byte{oci: write(t, Options{}, e), docker: write(t, Options{Docker: true}, d)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, source := range []string{"oci-archive:" + oci + ":1", "oci-archive:" + oci, "docker-archive:" + docker + ":app:1", "docker-archive:" + docker + ":app:2"} {
		raw := run(t, "skopeo", "inspect", "--config", "--raw", source)
		if source[0] == 'o' && digest.FromString(strings.TrimSuffix(raw, "\n")) != e.ID() {
			t.Errorf("%s has another config: %s", source, raw)
		}
		to := filepath.Join(t.TempDir(), "copy")
		run(t, "skopeo", "copy", "--insecure-policy", source, "oci:"+to+":x")
		bundle := filepath.Join(t.TempDir(), "bundle")
		run(t, "umoci", "unpack", "--rootless", "--image", to+":x", bundle)
		if got, err := os.ReadFile(filepath.Join(bundle, "rootfs", "f")); err != nil || string(got) != "two" {
			t.Errorf("%s: got %q, %v", source, got, err)
		}
	}
	// What skopeo writes for docker is read here.
	theirs := filepath.Join(dir, "theirs.tar")
	run(t, "skopeo", "copy", "--insecure-policy", "oci-archive:"+oci, "docker-archive:"+theirs+":some/app:3")
	data, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	a := read(t, data)
	p, err := a.Image(t.Context(), a.Entries()[0], image.Platform{})
	if err != nil || !cmp.Equal(p.DiffIDs, e.DiffIDs) {
		t.Errorf("got %v, %v; want %v", p.DiffIDs, err, e.DiffIDs)
	}
	if refs := a.Entries()[0].References; len(refs) != 1 || refs[0].Familiar() != "some/app:3" {
		t.Errorf("names: %v", refs)
	}
}
