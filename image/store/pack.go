package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"builder/image"
)

// Provider opens the uncompressed tars of layers. What it returns reads as the
// bytes of the layer's DiffID or ends with an error.
type Provider interface {
	Tar(ctx context.Context, l image.Layer) (io.ReadCloser, error)
}

// Packed is an image in a form, with what is needed to send it: it opens each
// of its layers' blobs.
type Packed struct {
	image.Packed
	store    *Store
	provider Provider
	tars     map[image.Digest]image.Layer
}

// Pack returns an image in a form. Layers that came from elsewhere keep their
// blobs where the form allows ([image.Form.Received]); others are packed unless
// they were before: each once for a compression. config is what img.Config is
// encoded as, since a config that was received is never encoded again.
func (s *Store) Pack(ctx context.Context, img image.Image, config []byte, form image.Form, p Provider) (*Packed, error) {
	descriptors := make([]image.Descriptor, len(img.Layers))
	diffIDs := make([]image.Digest, len(img.Layers))
	tars := map[image.Digest]image.Layer{}
	g, gctx := errgroup.WithContext(ctx)
	// One layer at a time already uses all processors while it is compressed; two
	// keep them busy while small ones begin and end.
	g.SetLimit(2)
	made := map[image.Digest]func() (packing, error){}
	for _, l := range img.Layers {
		if made[l.DiffID] == nil {
			made[l.DiffID] = sync.OnceValues(func() (packing, error) { return s.packLayer(gctx, l, form, p) })
		}
		if form.Compression == image.Uncompressed {
			tars[l.DiffID] = l
		}
	}
	for i, l := range img.Layers {
		g.Go(func() error {
			d, err := made[l.DiffID]()
			if err != nil {
				return fmt.Errorf("layer %d of %d, %s: %w", i+1, len(img.Layers), l.DiffID, err)
			}
			descriptors[i], diffIDs[i] = d.annotate(d.blob), d.diffID
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("pack image as %s: %w", form, err)
	}
	config, err := image.WithDiffIDs(config, diffIDs)
	if err != nil {
		return nil, err
	}
	packed, err := image.Pack(form.Types, config, descriptors, img.Annotations)
	if err != nil {
		return nil, fmt.Errorf("pack image as %s: %w", form, err)
	}
	return &Packed{Packed: packed, store: s, provider: p, tars: tars}, nil
}

// Open opens a blob of the image: a layer, the config or the manifest.
func (p *Packed) Open(ctx context.Context, d image.Descriptor) (io.ReadCloser, error) {
	if l, ok := p.tars[d.Digest]; ok && !p.store.Has(d.Digest) {
		return p.provider.Tar(ctx, l)
	}
	return p.store.Provide(ctx, d.Digest)
}

// packing is what a layer was packed into.
type packing struct {
	blob   image.Descriptor
	diffID image.Digest
	// toc and tar are an eStargz layer's: the digest of its table of contents, and
	// the size of the tar before that was added.
	toc image.Digest
	tar int64
}

// packLayer packs a layer in a form and sees to it that its bytes can be had.
func (s *Store) packLayer(ctx context.Context, l image.Layer, form image.Form, p Provider) (packing, error) {
	if d, ok := form.Received(l); ok {
		return packing{blob: d, diffID: l.DiffID}, nil
	}
	mediaType := form.Types.Layer(form.Compression)
	if form.Compression == image.Uncompressed && l.Size > 0 {
		return packing{blob: image.Descriptor{MediaType: mediaType, Digest: l.DiffID, Size: l.Size}, diffID: l.DiffID}, nil
	}
	if size, ok := s.Stat(l.DiffID); ok && form.Compression == image.Uncompressed {
		return packing{blob: image.Descriptor{MediaType: mediaType, Digest: l.DiffID, Size: size}, diffID: l.DiffID}, nil
	}
	memo := s.packedPath(l.DiffID, form)
	d, ok := s.remembered(memo, l.DiffID)
	if !ok {
		unlock, err := s.lock(ctx, memo+".lock", nil)
		if err != nil {
			return packing{}, err
		}
		d, err = s.packOnce(ctx, l, form, p, memo)
		if err := errors.Join(err, unlock()); err != nil {
			return packing{}, err
		}
	}
	d.blob.MediaType = mediaType
	return d, nil
}

// packOnce packs a layer whose memo is locked, unless another process just did.
func (s *Store) packOnce(ctx context.Context, l image.Layer, form image.Form, p Provider, memo string) (d packing, err error) {
	if d, ok := s.remembered(memo, l.DiffID); ok {
		return d, nil
	}
	if form.Compression == image.EStargz {
		d, err = s.compressEStargz(ctx, l, form.Level, p)
	} else {
		d.diffID = l.DiffID
		d.blob, err = s.compress(ctx, l, form, p)
	}
	if err != nil {
		return d, err
	}
	return d, s.remember(memo, d)
}

// compress packs one layer into a blob.
func (s *Store) compress(ctx context.Context, l image.Layer, form image.Form, p Provider) (image.Descriptor, error) {
	tar, err := p.Tar(ctx, l)
	if err != nil {
		return image.Descriptor{}, err
	}
	w, err := s.Create(ctx)
	if err != nil {
		return image.Descriptor{}, errors.Join(err, tar.Close())
	}
	z, err := Compress(w, form.Compression, form.Level)
	if err == nil {
		_, err = io.CopyBuffer(exactly{z}, contextReader{ctx, tar}, make([]byte, blockSize))
		// The stream is ended on an error too: its goroutines live until then.
		err = errors.Join(err, z.Close())
	}
	if err := errors.Join(err, tar.Close()); err != nil {
		return image.Descriptor{}, errors.Join(err, w.Discard())
	}
	return w.Commit()
}

func (s *Store) packedPath(diffID image.Digest, form image.Form) string {
	name := fmt.Sprintf("%s-%d.%d", form.Compression, form.Level, compressors)
	return filepath.Join(s.dir, "packed", name, diffID.Encoded())
}

// remembered returns what a layer was packed into before, if that is here.
func (s *Store) remembered(path string, diffID image.Digest) (packing, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return packing{}, false
	}
	d := packing{diffID: diffID}
	first, second, more := strings.Cut(string(data), "\n")
	if _, err := fmt.Sscanf(first, "%s %d", &d.blob.Digest, &d.blob.Size); err != nil {
		return packing{}, false
	}
	if more && second != "" {
		if _, err := fmt.Sscanf(second, "%s %s %d\n", &d.diffID, &d.toc, &d.tar); err != nil {
			return packing{}, false
		}
	}
	size, ok := s.Stat(d.blob.Digest)
	return d, ok && size == d.blob.Size
}

func (s *Store) remember(path string, d packing) error {
	text := fmt.Appendf(nil, "%s %d\n", d.blob.Digest, d.blob.Size)
	if d.toc != "" {
		text = fmt.Appendf(text, "%s %s %d\n", d.diffID, d.toc, d.tar)
	}
	return s.replace(path, text)
}
