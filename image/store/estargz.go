package store

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"

	"builder/image"
)

// compressEStargz packs one layer so that its files can be read one by one. The
// bytes are a function of the tar, of the level and of the Go release. A gzip
// stream per file leaves nothing to be done in parallel within a layer.
func (s *Store) compressEStargz(ctx context.Context, l image.Layer, level int, p Provider) (packing, error) {
	if level < 0 || level > 9 {
		return packing{}, fmt.Errorf("estargz has gzip's levels from 1 to 9, not %d", level)
	}
	if level == 0 {
		level = gzip.BestCompression // what others pack with
	}
	tar, err := p.Tar(ctx, l)
	if err != nil {
		return packing{}, err
	}
	w, err := s.Create(ctx)
	if err != nil {
		return packing{}, errors.Join(err, tar.Close())
	}
	size := counted{r: contextReader{ctx, tar}}
	z := estargz.NewWriterLevel(w, level)
	var toc digest.Digest
	if err = z.AppendTarLossLess(&size); err == nil {
		toc, err = z.Close()
	}
	if err := errors.Join(err, tar.Close()); err != nil {
		return packing{}, errors.Join(err, w.Discard())
	}
	blob, err := w.Commit()
	return packing{blob: blob, diffID: image.Digest(z.DiffID()), toc: toc, tar: size.n}, err
}

// annotate says in a descriptor what readers of single files need.
func (p packing) annotate(d image.Descriptor) image.Descriptor {
	if p.toc != "" {
		d.Annotations = map[string]string{
			estargz.TOCJSONDigestAnnotation:         p.toc.String(),
			estargz.StoreUncompressedSizeAnnotation: fmt.Sprint(p.tar),
		}
	}
	return d
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
