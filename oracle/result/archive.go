package result

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const created = "org.opencontainers.image.created"

// archive is an open OCI archive: where each of its files is.
type archive struct {
	file  *os.File
	files map[string]section
}

type section struct{ offset, size int64 }

// ReadArchive reads the images of the OCI archive in the named file.
func ReadArchive(name string) (_ *Build, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a := &archive{file: f, files: map[string]section{}}
	if err := a.scan(); err != nil {
		return nil, fmt.Errorf("archive %s: %w", name, err)
	}
	b, err := a.build()
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", name, err)
	}
	return b, nil
}

func (a *archive) scan() error {
	tr := tar.NewReader(a.file)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		at, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		a.files[strings.TrimPrefix(h.Name, "./")] = section{at, h.Size}
	}
}

func (a *archive) open(name string) (*io.SectionReader, error) {
	s, ok := a.files[name]
	if !ok {
		return nil, fmt.Errorf("no %s", name)
	}
	return io.NewSectionReader(a.file, s.offset, s.size), nil
}

func (a *archive) blob(d digest.Digest) (*io.SectionReader, error) {
	return a.open("blobs/" + d.Algorithm().String() + "/" + d.Encoded())
}

// read decodes the JSON blob that desc describes, after checking it.
func (a *archive) read(desc ocispec.Descriptor, v any) ([]byte, error) {
	r, err := a.blob(desc.Digest)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(data); got != desc.Digest || int64(len(data)) != desc.Size {
		return nil, fmt.Errorf("blob %s has digest %s and size %d, not %d", desc.Digest, got, len(data), desc.Size)
	}
	return data, json.Unmarshal(data, v)
}

func (a *archive) build() (*Build, error) {
	r, err := a.open(ocispec.ImageIndexFile)
	if err != nil {
		return nil, err
	}
	var top ocispec.Index
	if err := json.NewDecoder(r).Decode(&top); err != nil {
		return nil, fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
	}
	b := &Build{}
	manifests := top.Manifests
	if len(manifests) == 1 && strings.Contains(manifests[0].MediaType, "index") {
		var idx ocispec.Index
		if _, err := a.read(manifests[0], &idx); err != nil {
			return nil, err
		}
		b.Index = &Index{MediaType: manifests[0].MediaType, Annotations: orNil(idx.Annotations)}
		manifests = idx.Manifests
		for _, m := range manifests {
			b.Index.Platforms = append(b.Index.Platforms, platformName(m.Platform))
		}
	}
	for _, desc := range manifests {
		img, err := a.image(desc)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
		}
		b.Images = append(b.Images, *img)
	}
	return b, nil
}

func platformName(p *ocispec.Platform) string {
	if p == nil {
		return ""
	}
	return strings.TrimSuffix(strings.Join([]string{p.OS, p.Architecture, p.Variant}, "/"), "/")
}

func (a *archive) image(desc ocispec.Descriptor) (*Image, error) {
	var m ocispec.Manifest
	if _, err := a.read(desc, &m); err != nil {
		return nil, err
	}
	delete(desc.Annotations, created)
	img := &Image{
		Platform: platformName(desc.Platform), MediaType: desc.MediaType, ArtifactType: m.ArtifactType,
		ConfigType: m.Config.MediaType, Annotations: orNil(m.Annotations), IndexAnnotations: orNil(desc.Annotations),
	}
	if m.MediaType != desc.MediaType {
		img.Faults = append(img.Faults, fmt.Sprintf("manifest calls itself %q, its descriptor %q", m.MediaType, desc.MediaType))
	}
	var config ocispec.Image
	data, err := a.read(m.Config, &config)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	img.Config = data
	if n := len(config.RootFS.DiffIDs); n != len(m.Layers) {
		img.Faults = append(img.Faults, fmt.Sprintf("%d diff IDs for %d layers", n, len(m.Layers)))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, make([]digest.Digest, len(m.Layers))...)
	}

	t := newTree()
	for i, l := range m.Layers {
		paths, diffID, err := a.apply(t, l)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		if want := config.RootFS.DiffIDs[i]; diffID != want {
			img.Faults = append(img.Faults, fmt.Sprintf("layer %d: diff ID is %s, not %s", i, diffID, want))
		}
		img.Layers = append(img.Layers, Layer{MediaType: l.MediaType, Annotations: orNil(l.Annotations), Paths: paths})
	}
	img.Tree = t.entries()
	return img, nil
}

// orNil makes an empty map nil, as it is after a way through JSON.
func orNil(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// apply puts the layer on top of t, and returns its paths and diff ID.
func (a *archive) apply(t *tree, desc ocispec.Descriptor) ([]string, digest.Digest, error) {
	blob, err := a.blob(desc.Digest)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.New()
	if n, err := io.Copy(sum, blob); err != nil {
		return nil, "", err
	} else if got := digest.NewDigest(digest.SHA256, sum); got != desc.Digest || n != desc.Size {
		return nil, "", fmt.Errorf("blob %s has digest %s and size %d, not %d", desc.Digest, got, n, desc.Size)
	}
	if _, err := blob.Seek(0, io.SeekStart); err != nil {
		return nil, "", err
	}
	plain, err := decompress(desc.MediaType, blob)
	if err != nil {
		return nil, "", err
	}
	data, err := io.ReadAll(plain)
	if err != nil {
		return nil, "", err
	}
	paths, err := t.apply(bytes.NewReader(data))
	return paths, digest.FromBytes(data), err
}

func decompress(mediaType string, r io.Reader) (io.Reader, error) {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return gzip.NewReader(r)
	case strings.HasSuffix(mediaType, "zstd"):
		return zstd.NewReader(r)
	case strings.HasSuffix(mediaType, "tar"):
		return r, nil
	}
	return nil, fmt.Errorf("media type %q", mediaType)
}
