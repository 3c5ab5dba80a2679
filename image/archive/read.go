package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"builder/image"
)

const (
	// maxEntries bounds the table of an archive's files.
	maxEntries = 100_000
	// maxLinks is how many symbolic links lead to a file at most.
	maxLinks = 8
)

// Archive is an open archive.
type Archive struct {
	r      io.ReaderAt
	files  map[string]file
	blobs  map[image.Digest]file // of a docker archive without a layout
	index  *ocispec.Index
	docker []dockerImage
}

// file is where the bytes of an entry are, or what it links to.
type file struct {
	offset, size int64
	link         string
}

// Entry is an image, or images for several platforms, in an archive.
type Entry struct {
	// References are the names that the archive gives to it. They are a stranger's
	// words.
	References []image.Reference
	descriptor image.Descriptor
	docker     *dockerImage
}

// Open reads the table of an uncompressed archive of size bytes. It stays valid
// as long as r does.
func Open(r io.ReaderAt, size int64) (*Archive, error) {
	a := &Archive{r: r, files: map[string]file{}, blobs: map[image.Digest]file{}}
	if err := a.scan(io.NewSectionReader(r, 0, size)); err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	if err := a.parse(); err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	return a, nil
}

// scan notes where each file is. The tar reader reads headers only and seeks
// over the rest, so that after Next it stands at the beginning of a file.
func (a *Archive) scan(r *io.SectionReader) error {
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && n == 0 {
			return fmt.Errorf("it is no tar, nor one packed by gzip or zstd: %w", err)
		}
		if err != nil {
			return err
		}
		if n == maxEntries {
			return fmt.Errorf("it has more than %d entries", maxEntries)
		}
		name := path.Clean("/" + h.Name)[1:]
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := r.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			a.files[name] = file{offset: at, size: h.Size}
		case tar.TypeSymlink:
			a.files[name] = file{link: path.Join(path.Dir("/"+name), h.Linkname)[1:]}
		case tar.TypeLink:
			a.files[name] = file{link: path.Clean("/" + h.Linkname)[1:]}
		}
	}
}

// open returns the bytes of a file, through the links that older versions of
// docker write for equal layers.
func (a *Archive) open(name string) (*io.SectionReader, file, error) {
	name = path.Clean("/" + name)[1:]
	for range maxLinks {
		f, ok := a.files[name]
		switch {
		case !ok:
			return nil, f, fmt.Errorf("%q is not in the archive", name)
		case f.link == "":
			return io.NewSectionReader(a.r, f.offset, f.size), f, nil
		}
		name = f.link
	}
	return nil, file{}, fmt.Errorf("%q: too many links", name)
}

func (a *Archive) read(name string, limit int64) ([]byte, error) {
	r, f, err := a.open(name)
	if err != nil {
		return nil, err
	}
	if f.size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", name, f.size, limit)
	}
	return io.ReadAll(r)
}

// parse finds out which kind of archive it is. A layout says more than docker's
// manifest.json, which gives the names where both are there.
func (a *Archive) parse() error {
	_, layout := a.files[image.LayoutIndexFile]
	_, docker := a.files["manifest.json"]
	if !layout && !docker {
		return errors.New("it has neither index.json nor manifest.json: it is no archive of images")
	}
	if layout {
		data, err := a.read(image.LayoutIndexFile, image.MaxManifest)
		if err != nil {
			return err
		}
		index, err := image.ParseIndex(ocispec.MediaTypeImageIndex, data)
		if err != nil {
			return err
		}
		a.index = &index
		return nil
	}
	data, err := a.read("manifest.json", image.MaxManifest)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &a.docker); err != nil {
		return fmt.Errorf("manifest.json: %w", err)
	}
	return nil
}

// Entries returns what is in the archive.
func (a *Archive) Entries() []Entry {
	var all []Entry
	if a.index != nil {
		at := map[image.Digest]int{}
		for _, d := range a.index.Manifests {
			if image.CheckManifestType(d.MediaType) != nil {
				continue
			}
			i, ok := at[d.Digest]
			if !ok {
				i = len(all)
				at[d.Digest] = i
				all = append(all, Entry{descriptor: d})
			}
			if ref, ok := image.LayoutName(d); ok {
				all[i].References = append(all[i].References, ref)
			}
		}
		return all
	}
	for i := range a.docker {
		e := Entry{docker: &a.docker[i]}
		for _, tag := range a.docker[i].RepoTags {
			if ref, err := image.ParseReference(tag); err == nil {
				e.References = append(e.References, ref)
			}
		}
		all = append(all, e)
	}
	return all
}

// Image returns the image of an entry; of several the one that fits want. Of a
// docker archive each layer is read once, for its digest.
func (a *Archive) Image(ctx context.Context, e Entry, want image.Platform) (image.Packed, error) {
	if e.docker != nil {
		p, err := a.dockerImage(ctx, e.docker)
		if err != nil {
			return p, fmt.Errorf("manifest.json: %w", err)
		}
		return p, nil
	}
	return image.UnpackLayout(e.descriptor, want, func(d image.Descriptor) ([]byte, error) {
		data, err := a.read(image.LayoutPath(d.Digest), min(d.Size, image.MaxConfig))
		if err != nil {
			return nil, err
		}
		if got := digest.FromBytes(data); got != d.Digest {
			return nil, fmt.Errorf("blob %s has digest %s", d.Digest, got)
		}
		return data, nil
	})
}

// dockerImage makes the manifest that the archive lacks.
func (a *Archive) dockerImage(ctx context.Context, d *dockerImage) (image.Packed, error) {
	config, err := a.read(d.Config, image.MaxConfig)
	if err != nil {
		return image.Packed{}, fmt.Errorf("config: %w", err)
	}
	var layers []image.Descriptor
	for _, name := range d.Layers {
		l, err := a.layer(ctx, name)
		if err != nil {
			return image.Packed{}, fmt.Errorf("layer %s: %w", name, err)
		}
		layers = append(layers, l)
	}
	return image.Pack(image.Docker, config, layers, nil)
}

func (a *Archive) layer(ctx context.Context, name string) (image.Descriptor, error) {
	r, f, err := a.open(name)
	if err != nil {
		return image.Descriptor{}, err
	}
	hash := digest.Canonical.Digester()
	if _, err := io.Copy(hash.Hash(), contextReader{ctx, r}); err != nil {
		return image.Descriptor{}, err
	}
	start := make([]byte, 4)
	n, _ := r.ReadAt(start, 0) // a layer may be empty
	c := image.Uncompressed
	switch {
	case bytes.HasPrefix(start[:n], []byte{0x1f, 0x8b}):
		c = image.Gzip
	case bytes.Equal(start[:n], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		c = image.Zstd
	}
	a.blobs[hash.Digest()] = f
	return image.Descriptor{MediaType: image.Docker.Layer(c), Digest: hash.Digest(), Size: f.size}, nil
}

// Open opens a blob. Its bytes are not verified here: who stores them does.
func (a *Archive) Open(_ context.Context, d image.Descriptor) (io.ReadCloser, error) {
	if err := image.CheckDigest(d.Digest); err != nil {
		return nil, err
	}
	if f, ok := a.blobs[d.Digest]; ok {
		return io.NopCloser(io.NewSectionReader(a.r, f.offset, f.size)), nil
	}
	r, _, err := a.open(image.LayoutPath(d.Digest))
	if err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}

var _ image.Blobs = (*Archive)(nil)
