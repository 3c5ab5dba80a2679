package fileop

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"builder/image/layer"
)

// Result is a layer that a file operation makes: its index and, as a
// [layer.Source], the contents of its files. The trees that were copied from and
// into must stay open as long as contents are read.
type Result struct {
	Index *layer.Index

	dst   layer.Source
	data  map[string]data
	spool *spool
}

var _ layer.Source = (*Result)(nil)

// data says where the bytes of a file that was written are.
type data interface{ isData() }

type (
	fromSource struct { // a file of a source
		entry  *layer.Entry
		source layer.Source
	}
	fromDest   struct{ entry layer.Entry }  // one of the destination, which got another name or owner
	fromRecipe []byte                       // a heredoc
	fromSpool  struct{ offset, size int64 } // part of an archive
)

func (fromSource) isData() {}
func (fromDest) isData()   {}
func (fromRecipe) isData() {}
func (fromSpool) isData()  {}

// result makes the index of what changed.
func (c *copier) result() (*Result, error) {
	e := &emitter{tree: c.tree, entries: make([]layer.Entry, 0, c.tree.count), data: make(map[string]data, c.tree.count), own: func(p string) bool {
		i, ok := c.dst.View.Layer(p)
		return ok && i >= c.dst.Base
	}}
	e.settle()
	e.emit(c.tree.root)
	ix, err := layer.NewIndex(e.entries)
	if err != nil {
		return nil, fmt.Errorf("copy to %s: %w", c.op.Dest, err)
	}
	return &Result{Index: ix, dst: c.dst.Files, data: e.data, spool: c.spool}, nil
}

// Open opens the bytes of a file of the index.
func (r *Result) Open(ctx context.Context, e layer.Entry) (io.ReadCloser, error) {
	switch d := r.data[e.Path].(type) {
	case fromSource:
		return d.source.Open(ctx, *d.entry)
	case fromDest:
		return r.dst.Open(ctx, d.entry)
	case fromRecipe:
		return io.NopCloser(bytes.NewReader(d)), nil
	case fromSpool:
		return r.spool.open(d), nil
	default:
		return nil, fmt.Errorf("open %s: not a file of this layer", e.Path)
	}
}

// Close lets go of what an archive was unpacked to.
func (r *Result) Close() error { return r.spool.Close() }
