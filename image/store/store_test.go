package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"builder/image"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ref(t testing.TB, s string) image.Reference {
	t.Helper()
	r, err := image.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tars is a provider of layers that are their tars.
type tars map[image.Digest][]byte

func (p tars) Tar(_ context.Context, l image.Layer) (io.ReadCloser, error) {
	data, ok := p[l.DiffID]
	if !ok {
		return nil, fmt.Errorf("no layer %s", l.DiffID)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// add records an image of one layer whose label sets it apart.
func add(t testing.TB, s *Store, label string, layers ...[]byte) (Record, tars) {
	t.Helper()
	c := image.Config{Architecture: "amd64", OS: "linux", RootFS: image.RootFS{Type: "layers", DiffIDs: []image.Digest{}}}
	c.Config.Labels = map[string]string{"label": label}
	var r Record
	p := tars{}
	for _, data := range layers {
		d := digest.FromBytes(data)
		p[d] = data
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, d)
		r.Layers = append(r.Layers, image.Layer{Content: image.ForeignContent(d), DiffID: d, Size: int64(len(data)), Stamps: []int64{1}})
	}
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	r.Origin, r.Made = FromRecipe, time.Unix(1e9, 0)
	r, err = s.Add(t.Context(), r, config)
	if err != nil {
		t.Fatal(err)
	}
	return r, p
}

func tag(t testing.TB, s *Store, name string, r Record) {
	t.Helper()
	if _, err := s.Tag(t.Context(), Name{Reference: ref(t, name), ID: r.ID, Platform: r.Platform}); err != nil {
		t.Fatal(err)
	}
}

func TestBlobIsWhatItsDigestSays(t *testing.T) {
	s := newStore(t)
	data := []byte("hello")
	d := image.Descriptor{Digest: digest.FromBytes(data), Size: 5}
	for _, wrong := range []string{"hellx", "hell", "hello!", ""} {
		err := s.Ingest(t.Context(), d, strings.NewReader(wrong))
		if _, ok := errors.AsType[*MismatchError](err); !ok {
			t.Errorf("%q was taken for hello: %v", wrong, err)
		}
	}
	if s.Has(d.Digest) {
		t.Fatal("a wrong blob is there")
	}
	if err := s.Ingest(t.Context(), d, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	b, err := s.Provide(t.Context(), d.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); err != nil || string(got) != "hello" || b.Close() != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "tmp")); len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	if _, err := s.Provide(t.Context(), digest.FromString("other")); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Provide(t.Context(), "sha256:../../../etc/passwd"); err == nil {
		t.Error("a digest that is a path was taken")
	}
}

func TestFetchIsDoneByOneAndTakenUpWhereItBroke(t *testing.T) {
	s := newStore(t)
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	d := image.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	var mu sync.Mutex
	var from []int64
	open := func(_ context.Context, at int64) (io.ReadCloser, error) {
		mu.Lock()
		defer mu.Unlock()
		from = append(from, at)
		if len(from) < 3 {
			return io.NopCloser(bytes.NewReader(data[at : at+1000])), nil
		}
		return io.NopCloser(bytes.NewReader(data[at:])), nil
	}
	fetched := 0
	var wg sync.WaitGroup
	for range 8 {
		// Each has a store of its own, as processes have.
		other, err := Open(s.dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			did, err := other.Fetch(t.Context(), d, FetchOptions{Open: open})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if did {
				fetched++
			}
		})
	}
	wg.Wait()
	if want := []int64{0, 1000, 2000}; fetched != 1 || !cmp.Equal(from, want) {
		t.Errorf("%d fetched, in streams from %v, want 1 and %v", fetched, from, want)
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "blobs", "locks")); len(left) != 0 {
		t.Errorf("locks are left: %v", left)
	}
}

func TestFetchRefusesWhatIsTooLongOrWrongOrNeverEnds(t *testing.T) {
	s := newStore(t)
	d := image.Descriptor{Digest: digest.FromString("hello"), Size: 5}
	endless := func(context.Context, int64) (io.ReadCloser, error) { return io.NopCloser(zeros{}), nil }
	if _, err := s.Fetch(t.Context(), d, FetchOptions{Open: endless}); err == nil {
		t.Error("an endless body was taken")
	}
	wrong := func(context.Context, int64) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("jello")), nil
	}
	if _, err := s.Fetch(t.Context(), d, FetchOptions{Open: wrong}); err == nil {
		t.Error("wrong bytes were taken")
	}
	short := func(context.Context, int64) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }
	if _, err := s.Fetch(t.Context(), d, FetchOptions{Open: short}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if s.Has(d.Digest) {
		t.Error("a wrong blob is there")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestFindByEveryName(t *testing.T) {
	s := newStore(t)
	r, _ := add(t, s, "a", []byte("layer"))
	other, _ := add(t, s, "b")
	tag(t, s, "example.com/a/b:1", r)
	tag(t, s, "app", r)
	tag(t, s, "other", other)
	manifest := digest.FromString("manifest")
	if err := s.AddManifest(t.Context(), r.ID, manifest); err != nil {
		t.Fatal(err)
	}
	id := string(r.ID)
	for _, text := range []string{
		"app", "app:latest", "docker.io/library/app", "example.com/a/b:1", id, id[7:], id[7:19], id[:19],
		"app@" + id, "app:nonsense@" + id, "app@" + string(manifest), string(manifest),
	} {
		found, err := s.Find(t.Context(), text, image.Platform{})
		if err != nil || found.ID != r.ID {
			t.Errorf("%s: got %s, %v", text, found.ID, err)
		}
	}
	for _, text := range []string{"app:2", "other@" + id, "zzz", "a/b:1", "example.com/a/b"} {
		if found, err := s.Find(t.Context(), text, image.Platform{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %s, %v", text, found.ID, err)
		}
	}
	if _, err := s.Find(t.Context(), "", image.Platform{}); err == nil {
		t.Error("the empty name was found")
	}
}

func TestAnIDPrefixIsUniqueOrAmbiguous(t *testing.T) {
	s := newStore(t)
	first := map[byte]bool{}
	for i := range 40 {
		r, _ := add(t, s, fmt.Sprint(i))
		digit := r.ID.Encoded()[0]
		_, err := s.Find(t.Context(), string(digit), image.Platform{})
		_, ambiguous := errors.AsType[*AmbiguousError](err)
		if ambiguous != first[digit] {
			t.Fatalf("%c: got %v, seen before: %v", digit, err, first[digit])
		}
		first[digit] = true
	}
}

func TestTagMovesAndPlatformsOfOneIndexStayTogether(t *testing.T) {
	s := newStore(t)
	a, _ := add(t, s, "a")
	b, _ := add(t, s, "b")
	tag(t, s, "app:1", a)
	before, err := s.Tag(t.Context(), Name{Reference: ref(t, "app:1"), ID: b.ID, Platform: b.Platform})
	if err != nil || before != a.ID {
		t.Errorf("got %s, %v", before, err)
	}
	index := digest.FromString("index")
	arm := image.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	for _, n := range []Name{{ID: a.ID, Platform: a.Platform}, {ID: b.ID, Platform: arm}} {
		n.Reference, n.Manifest = ref(t, "app:1"), index
		if _, err := s.Tag(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	names, err := s.Names()
	if err != nil || len(names) != 2 {
		t.Fatalf("got %v, %v", names, err)
	}
	tag(t, s, "app:1", b)
	if names, err := s.Names(); err != nil || len(names) != 1 || names[0].ID != b.ID {
		t.Errorf("got %v, %v", names, err)
	}
	if _, err := s.Tag(t.Context(), Name{Reference: ref(t, "x"), ID: index, Platform: arm}); !errors.Is(err, ErrNotFound) {
		t.Errorf("an image that is not here was tagged: %v", err)
	}
}

func TestTagsFromManyProcessesAllStay(t *testing.T) {
	s := newStore(t)
	r, _ := add(t, s, "a")
	var wg sync.WaitGroup
	for i := range 8 {
		other, err := Open(s.dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for j := range 10 {
				n := Name{Reference: ref(t, fmt.Sprintf("app:%d-%d", i, j)), ID: r.ID, Platform: r.Platform}
				if _, err := other.Tag(t.Context(), n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if names, err := s.Names(); err != nil || len(names) != 80 {
		t.Errorf("got %d names, %v", len(names), err)
	}
}

func TestRemoveReportsAsDocker(t *testing.T) {
	s := newStore(t)
	r, _ := add(t, s, "a", []byte("shared"), []byte("own"))
	keep, _ := add(t, s, "b", []byte("shared"))
	tag(t, s, "app:1", r)
	tag(t, s, "example.com/app:2", r)
	tag(t, s, "keep", keep)
	if _, err := s.Remove(t.Context(), r.ID.Encoded()[:12], RemoveOptions{}); err == nil || !strings.Contains(err.Error(), "multiple repositories") {
		t.Errorf("got %v", err)
	}
	got, err := s.Remove(t.Context(), "app:1", RemoveOptions{})
	if want := []string{"Untagged: app:1"}; err != nil || !cmp.Equal(got.Lines(), want) {
		t.Errorf("got %v, %v; want %v", got.Lines(), err, want)
	}
	refuse := errors.New("in use")
	if _, err := s.Remove(t.Context(), r.ID.Encoded(), RemoveOptions{InUse: func(image.Digest) error { return refuse }}); !errors.Is(err, refuse) {
		t.Errorf("got %v", err)
	}
	got, err = s.Remove(t.Context(), r.ID.Encoded(), RemoveOptions{})
	if want := []string{"Untagged: example.com/app:2", "Deleted: " + string(r.ID)}; err != nil || !cmp.Equal(got.Lines(), want) {
		t.Errorf("got %v, %v; want %v", got.Lines(), err, want)
	}
	if len(got.Layers) != 1 || got.Layers[0].DiffID != r.Layers[1].DiffID {
		t.Errorf("layers without image: %v", got.Layers)
	}
	if _, ok, _ := s.Image(r.ID); ok || s.Has(r.ID) {
		t.Error("the image is still there")
	}
	if list, err := s.List(); err != nil || len(list) != 1 || len(list[0].Names) != 1 {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestPackedBlobsGoWithTheirImageUnlessHeld(t *testing.T) {
	for _, held := range []bool{false, true} {
		s := newStore(t)
		r, p := add(t, s, "a", []byte("layer"))
		img, config, err := s.Load(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := s.Pack(t.Context(), img, config, image.Form{}, p)
		if err != nil {
			t.Fatal(err)
		}
		if held {
			release, err := s.Hold()
			if err != nil {
				t.Fatal(err)
			}
			defer release()
		}
		if _, err := s.Remove(t.Context(), string(r.ID), RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		if s.Has(packed.Layers[0].Digest) != held {
			t.Errorf("held %v: blob is there: %v", held, !held)
		}
	}
}

func TestTornFilesAreMissing(t *testing.T) {
	s := newStore(t)
	r, _ := add(t, s, "a", []byte("layer"))
	tag(t, s, "app", r)
	for _, path := range []string{s.recordPath(r.ID), s.namesPath("docker.io/library/app")} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(data) {
			if err := os.WriteFile(path, data[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Find(t.Context(), "app", image.Platform{}); !errors.Is(err, ErrNotFound) {
				t.Fatalf("%s cut to %d bytes: %v", path, n, err)
			}
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	newer := []byte("builder image 2 x\n{}")
	if err := os.WriteFile(s.recordPath(r.ID), newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Image(r.ID); err == nil {
		t.Error("a record of a later version was read")
	}
}

func TestAddKeepsWhatIsKnown(t *testing.T) {
	s := newStore(t)
	r, _ := add(t, s, "a", []byte("layer"))
	config, err := s.Read(t.Context(), r.ID, image.MaxConfig)
	if err != nil {
		t.Fatal(err)
	}
	blob := image.Descriptor{MediaType: image.OCI.Layer(image.Gzip), Digest: digest.FromString("blob"), Size: 3}
	pulled := Record{Layers: []image.Layer{{Content: r.Layers[0].Content, DiffID: r.Layers[0].DiffID, Blob: &blob}}, Origin: FromPull, Made: time.Unix(2e9, 0),
		Manifests: []image.Digest{digest.FromString("manifest")}}
	got, err := s.Add(t.Context(), pulled, config)
	if err != nil {
		t.Fatal(err)
	}
	want := r
	want.Manifests = pulled.Manifests
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if again, ok, err := s.Image(r.ID); err != nil || !ok || !cmp.Equal(again, got) {
		t.Errorf("the record was not written: %v", err)
	}
}

func BenchmarkList1000(b *testing.B) {
	s := newStore(b)
	for i := range 1000 {
		r, _ := add(b, s, fmt.Sprint(i), []byte("base"), []byte("a"), []byte("b"), []byte("c"), fmt.Append(nil, i))
		tag(b, s, fmt.Sprintf("example.com/app%d:1", i), r)
	}
	for b.Loop() {
		if list, err := s.List(); err != nil || len(list) != 1000 {
			b.Fatal(len(list), err)
		}
	}
}
