package store

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"builder/image"
)

// text is bytes that compress, the same on each call.
func text(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < size {
		fmt.Fprintf(&b, "line %d of %x\n", r.IntN(1000), r.IntN(1<<16))
	}
	return b.Bytes()[:size]
}

// compress packs data by writes of a size.
func compress(t *testing.T, data []byte, c image.Compression, level, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := Compress(&b, c, level)
	if err != nil {
		t.Fatal(err)
	}
	for rest := data; len(rest) > 0; {
		n := min(size, len(rest))
		if _, err := z.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The digests change only with the libraries: then the version "compressors"
// changes too, since what was remembered is not what would be made.
func TestCompressedBytesDependOnNothingElse(t *testing.T) {
	data := text(2<<20 + 12345)
	for _, c := range []struct {
		compression image.Compression
		level       int
		want        image.Digest
	}{
		{image.Gzip, 0, "sha256:cea1f1c197f87bce8ac4948fa9bf69e676effc0429b3f1dab16c2178228ccbd5"},
		{image.Gzip, 9, "sha256:0fc5ba87ce95604f1631472bba1e6b131309581b31c0a1948021536daf5e93ef"},
		{image.Zstd, 0, "sha256:48c8d25df9d464e5bc7fc6da64ceb626701dd6514a613b670c7c38a66cd59ce1"},
		{image.Zstd, 8, "sha256:b8d0bbb0202b58a74d7003d65a7ccb378a96584401e6cdcdd3a2c368eadca235"},
		{image.Uncompressed, 0, digest.FromBytes(data)},
	} {
		for _, processors := range []int{1, 3} {
			before := runtime.GOMAXPROCS(processors)
			for _, size := range []int{1000, 1 << 20, len(data)} {
				packed := compress(t, data, c.compression, c.level, size)
				if got := digest.FromBytes(packed); got != c.want {
					t.Errorf("%s-%d by %d processors in writes of %d: got %s, want %s", c.compression, c.level, processors, size, got, c.want)
				}
				r, err := Decompress(bytes.NewReader(packed))
				if err != nil {
					t.Fatal(err)
				}
				if back, err := io.ReadAll(r); err != nil || !bytes.Equal(back, data) || r.Close() != nil {
					t.Errorf("%s-%d: it does not unpack: %v", c.compression, c.level, err)
				}
			}
			runtime.GOMAXPROCS(before)
		}
	}
}

func TestDecompressSniffs(t *testing.T) {
	for _, data := range [][]byte{nil, {0x1f}, {0x28, 0xb5, 0x2f}, []byte("plain"), make([]byte, 1024)} {
		r, err := Decompress(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%x: got %x, %v", data, got, err)
		}
	}
	for _, data := range [][]byte{{0x1f, 0x8b, 0, 0}, {0x28, 0xb5, 0x2f, 0xfd, 0xff}} {
		r, err := Decompress(bytes.NewReader(data))
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if err == nil {
			t.Errorf("%x was unpacked", data)
		}
	}
}

func TestAManifestIsAFunctionOfImageAndForm(t *testing.T) {
	forms := []image.Form{{}, {Types: image.Docker}, {Compression: image.Zstd}, {Compression: image.Uncompressed}, {Level: 1}, {Types: image.Docker, Compression: image.Uncompressed}}
	first := map[image.Form]image.Packed{}
	for range 2 {
		s := newStore(t)
		r, p := add(t, s, "a", text(3<<20), []byte("small"), []byte("small"))
		img, config, err := s.Load(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // made, then remembered
			for _, form := range forms {
				packed, err := s.Pack(t.Context(), img, config, form, p)
				if err != nil {
					t.Fatal(err)
				}
				if want, ok := first[form]; ok {
					if diff := cmp.Diff(want, packed.Packed); diff != "" {
						t.Errorf("%s: %s", form, diff)
					}
				}
				first[form] = packed.Packed
				if packed.ID() != r.ID {
					t.Errorf("%s: the ID depends on the form", form)
				}
				for i, l := range packed.Layers {
					b, err := packed.Open(t.Context(), l)
					if err != nil {
						t.Fatal(err)
					}
					data, err := io.ReadAll(b)
					if err != nil || b.Close() != nil || digest.FromBytes(data) != l.Digest || int64(len(data)) != l.Size {
						t.Errorf("%s: layer %d is not what its descriptor says: %v", form, i, err)
					}
				}
			}
		}
	}
}

func TestAReceivedBlobIsPassedOn(t *testing.T) {
	data := text(1000)
	for _, c := range []struct {
		mediaType string
		form      image.Form
		same      bool
	}{
		{image.Docker.Layer(image.Gzip), image.Form{}, true},
		{image.OCI.Layer(image.Gzip), image.Form{Types: image.Docker}, true},
		{image.OCI.Layer(image.Zstd), image.Form{}, true},
		{image.OCI.Layer(image.Zstd), image.Form{Types: image.Docker}, false},
		{image.OCI.Layer(image.Gzip), image.Form{Compression: image.Zstd}, true},
		{image.OCI.Layer(image.Gzip), image.Form{Compression: image.Uncompressed}, false},
	} {
		s := newStore(t)
		kind, _ := image.LayerCompression(c.mediaType)
		blob := compress(t, data, kind, 3, 100) // as somebody else would
		d := image.Descriptor{MediaType: c.mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
		if err := s.Ingest(t.Context(), d, bytes.NewReader(blob)); err != nil {
			t.Fatal(err)
		}
		diffID := digest.FromBytes(data)
		img := image.Image{Layers: []image.Layer{{DiffID: diffID, Blob: &d}}}
		config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%q]}}`, diffID)
		packed, err := s.Pack(t.Context(), img, config, c.form, tars{diffID: data})
		if err != nil {
			t.Fatal(err)
		}
		got := packed.Layers[0]
		if (got.Digest == d.Digest) != c.same {
			t.Errorf("%s as %s: passed on %v, want %v", c.mediaType, c.form, !c.same, c.same)
		}
		if _, ok := image.LayerCompression(got.MediaType); !ok || got.MediaType[:15] != c.form.Types.Manifest()[:15] {
			t.Errorf("%s as %s: media type %s", c.mediaType, c.form, got.MediaType)
		}
	}
}
