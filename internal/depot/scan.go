package depot

import (
	"context"
	"errors"
	"iter"

	"builder/image"
	"builder/image/layer"
	"builder/snapshot"
)

// Scan describes what an active tree changes in the tree of chain, which it was
// prepared on. The lowest layers, foreign of them, were not made by whoever changed
// it ([layer.ScanOptions]). A file for which shown gives a time had that before it
// could be changed, and not the one of the tree; shown may be nil. Nobody writes to
// the tree meanwhile, or what is written may be missed.
func (d *Depot) Scan(ctx context.Context, chain []image.ContentDigest, foreign int, active snapshot.Active, shown func(path string) (int64, bool)) (*layer.Index, error) {
	below := d.Files(chain)
	view := below.Lazy(ctx)
	ix, err := layer.Scan(ctx, active.Dir(), layerChanges(active.Changes(ctx)), view, layer.ScanOptions{
		Foreign: foreign,
		Mtime: func(e layer.Entry) (int64, error) {
			if shown != nil {
				if mtime, ok := shown(e.Path); ok {
					return mtime, nil
				}
			}
			return below.Mtime(ctx, e)
		},
	})
	if err = errors.Join(err, view.Err(), below.Close()); err != nil {
		return nil, err
	}
	return ix, nil
}

// layerChanges translates the snapshotter's list into the layer package's.
func layerChanges(list iter.Seq2[snapshot.Change, error]) iter.Seq2[layer.Change, error] {
	return func(yield func(layer.Change, error) bool) {
		for c, err := range list {
			kind := layer.Modify
			switch c.Kind {
			case snapshot.Delete:
				kind = layer.Delete
			case snapshot.Opaque:
				kind = layer.Opaque
			}
			if !yield(layer.Change{Path: c.Path, Kind: kind}, err) {
				return
			}
		}
	}
}
