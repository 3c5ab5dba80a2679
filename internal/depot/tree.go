package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"builder/image"
	"builder/image/layer"
	"builder/snapshot"
)

// AddTree records that the own layer of a committed tree is the layer that ix
// describes. [Depot.Use] was called for it before the tree was committed.
func (d *Depot) AddTree(ix *layer.Index, tree snapshot.Tree) (image.ContentDigest, error) {
	c := ix.Content()
	if err := d.register(c, ix, nil); err != nil {
		return c, err
	}
	return c, d.mark(c, tree.ID)
}

// mark notes that a tree has the layer on top, so that it can be grafted.
func (d *Depot) mark(c image.ContentDigest, id snapshot.ID) error {
	return d.publish(c, filepath.Join("trees", id.String()), func(*os.File) error { return nil })
}

// AddBase records a layer of an image that this build did not make, and returns
// the identity it has in a chain: as a base, its bytes are its content. Its
// files are unpacked when somebody reads them. The layer is a blob that came
// from elsewhere, or one that another build made here.
func (d *Depot) AddBase(ctx context.Context, l image.Layer) (image.ContentDigest, error) {
	c := image.ForeignContent(l.DiffID)
	if m, err := d.meta(c); err == nil && m.Foreign != nil {
		ok, err := d.Has(ctx, c)
		if ok || err != nil {
			return c, err
		}
		// It was known by a blob, or by a layer, that is not here any more.
		if err := os.Remove(d.path(c, "meta")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, fmt.Errorf("layer %s: %w", c, err)
		}
	}
	return c, d.register(c, nil, &foreign{DiffID: l.DiffID, Layer: l})
}

// WriteTree makes the tree that ix, with file contents from src, makes of the
// tree of chain, and returns the longer chain. No file may be as ix says it is
// any more: then the error is [layer.ErrChanged], and nothing is left.
func (d *Depot) WriteTree(ctx context.Context, chain []image.ContentDigest, ix *layer.Index, src layer.Source) ([]image.ContentDigest, error) {
	parent, err := d.Tree(ctx, chain)
	if err != nil {
		return nil, err
	}
	c := ix.Content()
	if _, err := d.Use(c); err != nil { // one that is here already stays
		return nil, err
	}
	below := d.Files(chain)
	tree, err := d.snaps.Add(ctx, parent.ID, snapshot.Chain(parent.ID, c), func(dir string, w snapshot.Whiteouts) error {
		return d.fill(ctx, dir, w, ix, src, below)
	})
	if err = errors.Join(err, below.Close()); err != nil {
		return nil, err
	}
	if _, err := d.AddTree(ix, tree); err != nil {
		return nil, err
	}
	return append(chain[:len(chain):len(chain)], c), nil
}

// Tree returns the tree of a chain, made where it is not here yet.
func (d *Depot) Tree(ctx context.Context, chain []image.ContentDigest) (snapshot.Tree, error) {
	ids := make([]snapshot.ID, len(chain)+1)
	for i, c := range chain {
		ids[i+1] = snapshot.Chain(ids[i], c)
	}
	here := len(chain)
	var tree snapshot.Tree
	for ; here > 0; here-- {
		found, ok, err := d.snaps.Tree(ctx, ids[here])
		if err != nil {
			return tree, err
		}
		if ok {
			tree = found
			break
		}
	}
	for ; here < len(chain); here++ {
		v, err, _ := d.making.Do("tree "+ids[here+1].String(), func() (any, error) {
			return d.grow(ctx, tree, ids[here+1], chain[:here], chain[here])
		})
		if err != nil {
			return tree, fmt.Errorf("layer %d of %d: %w", here+1, len(chain), err)
		}
		tree = v.(snapshot.Tree)
	}
	return tree, nil
}

// grow makes the tree id out of parent, the tree of the chain below, and the
// layer c, by the cheapest way that there is.
func (d *Depot) grow(ctx context.Context, parent snapshot.Tree, id snapshot.ID, chain []image.ContentDigest, c image.ContentDigest) (snapshot.Tree, error) {
	below := d.Files(chain)
	tree, err := d.growOver(ctx, parent, id, below, c)
	return tree, errors.Join(err, below.Close())
}

func (d *Depot) growOver(ctx context.Context, parent snapshot.Tree, id snapshot.ID, below *Files, c image.ContentDigest) (snapshot.Tree, error) {
	m, err := d.meta(c)
	if err != nil {
		return snapshot.Tree{}, err
	}
	from, ok, err := d.source(ctx, c)
	if err != nil {
		return snapshot.Tree{}, err
	}
	if m.Foreign != nil && !m.Foreign.Layer.Foreign() {
		return d.growMade(ctx, parent, id, c, m.Foreign.Layer)
	}
	var tree snapshot.Tree
	switch {
	case ok:
		tree, err = d.graft(ctx, parent, id, from, c)
	case m.Foreign != nil:
		tree, err = d.unpack(ctx, parent, id, m.Foreign, below)
	default:
		tree, err = d.untar(ctx, parent, id, c, below)
	}
	if err != nil {
		return tree, err
	}
	return tree, d.mark(c, id)
}

// growMade makes the tree id out of parent and a base layer that a build made
// here: as the layer that it is, under the identity that it has as a base.
func (d *Depot) growMade(ctx context.Context, parent snapshot.Tree, id snapshot.ID, c image.ContentDigest, l image.Layer) (snapshot.Tree, error) {
	from, ok, err := d.source(ctx, l.Content)
	if err != nil {
		return from, err
	}
	if !ok {
		if from, err = d.Tree(ctx, []image.ContentDigest{l.Content}); err != nil {
			return from, err
		}
	}
	tree, err := d.graft(ctx, parent, id, from, l.Content)
	if err != nil {
		return tree, err
	}
	return tree, d.mark(c, id)
}

// source finds a tree whose own layer is c.
func (d *Depot) source(ctx context.Context, c image.ContentDigest) (snapshot.Tree, bool, error) {
	marks, err := os.ReadDir(d.path(c, "trees"))
	if errors.Is(err, fs.ErrNotExist) {
		return snapshot.Tree{}, false, nil
	}
	if err != nil {
		return snapshot.Tree{}, false, fmt.Errorf("layer %s: %w", c, err)
	}
	for _, mark := range marks {
		id, err := snapshot.ParseID(mark.Name())
		if err != nil {
			continue
		}
		tree, ok, err := d.snaps.Tree(ctx, id)
		if ok || err != nil {
			return tree, ok, err
		}
	}
	return snapshot.Tree{}, false, nil
}

func (d *Depot) graft(ctx context.Context, parent snapshot.Tree, id snapshot.ID, from snapshot.Tree, c image.ContentDigest) (snapshot.Tree, error) {
	ix, err := d.Index(ctx, c)
	if err != nil {
		return snapshot.Tree{}, err
	}
	return d.snaps.Graft(ctx, parent.ID, id, from.ID, changes(ix))
}

// changes lists what an index does to the tree below it.
func changes(ix *layer.Index) func(yield func(snapshot.Change) bool) {
	return func(yield func(snapshot.Change) bool) {
		for i := range ix.Entries {
			e := &ix.Entries[i]
			change := snapshot.Change{Path: e.Path}
			if e.Type == layer.Whiteout {
				change.Kind = snapshot.Delete
			}
			if !yield(change) {
				return
			}
			if e.Opaque && !yield(snapshot.Change{Path: e.Path, Kind: snapshot.Opaque}) {
				return
			}
		}
	}
}

// unpack makes a foreign layer's tree and index of its blob in one pass, which
// verifies the diff ID.
func (d *Depot) unpack(ctx context.Context, parent snapshot.Tree, id snapshot.ID, f *foreign, below *Files) (snapshot.Tree, error) {
	var ix *layer.Index
	tree, err := d.snaps.Add(ctx, parent.ID, id, func(dir string, w snapshot.Whiteouts) error {
		view, err := below.View(ctx)
		if err != nil {
			return err
		}
		ix, err = d.readForeign(ctx, f, dir, layer.ApplyOptions{Whiteouts: whiteouts(w), Latest: time.Now(), Below: view, Open: below.OpenPath})
		return err
	})
	if err != nil || ix == nil {
		return tree, err
	}
	return tree, d.register(image.ForeignContent(f.DiffID), ix, f)
}

// scanForeign makes a foreign layer's index without unpacking it.
func (d *Depot) scanForeign(ctx context.Context, c image.ContentDigest, below layer.View) (*layer.Index, error) {
	m, err := d.meta(c)
	if err != nil {
		return nil, err
	}
	if m.Foreign == nil {
		return nil, fmt.Errorf("layer %s has no index: %w", c, ErrGone)
	}
	if !m.Foreign.Layer.Foreign() {
		return d.index(ctx, m.Foreign.Layer.Content, below)
	}
	ix, err := d.readForeign(ctx, m.Foreign, "", layer.ApplyOptions{Below: below})
	if err != nil {
		return nil, err
	}
	return ix, d.register(c, ix, m.Foreign)
}

// readForeign reads a foreign layer's blob into dir, or only for its index
// where dir is empty.
func (d *Depot) readForeign(ctx context.Context, f *foreign, dir string, o layer.ApplyOptions) (*layer.Index, error) {
	tar, err := d.openForeign(ctx, f)
	if err != nil {
		return nil, err
	}
	ix, err := d.readLayer(ctx, f.DiffID, tar, dir, o)
	return ix, errors.Join(err, tar.Close())
}

// readLayer reads a layer's tar, which has to be that of the diff ID, into dir,
// or only for its index where dir is empty. The tar's length is remembered.
func (d *Depot) readLayer(ctx context.Context, diffID image.Digest, tar io.Reader, dir string, o layer.ApplyOptions) (*layer.Index, error) {
	if dir != "" && d.limit != nil {
		var err error
		if o.Limit, err = d.limit(); err != nil {
			return nil, fmt.Errorf("unpack layer %s: %w", diffID, err)
		}
	}
	// Decompressing, verifying and writing take place at the same time.
	plain := readAhead(tar)
	verifier := newVerifier(plain, diffID)
	verified := readAhead(verifier)
	ix, err := layer.Apply(ctx, dir, verified, o)
	if err == nil {
		_, err = io.Copy(io.Discard, verified)
	}
	if err = errors.Join(err, verified.Close(), plain.Close()); err != nil {
		return nil, fmt.Errorf("unpack layer %s: %w", diffID, err)
	}
	return ix, d.measured(diffID, verifier.n)
}

// untar makes the tree of a layer that was written here as a tar only.
func (d *Depot) untar(ctx context.Context, parent snapshot.Tree, id snapshot.ID, c image.ContentDigest, below *Files) (snapshot.Tree, error) {
	diffID, ok := d.tar(c)
	if !ok {
		return snapshot.Tree{}, fmt.Errorf("layer %s: %w", c, ErrGone)
	}
	ix, err := d.Index(ctx, c)
	if err != nil {
		return snapshot.Tree{}, err
	}
	return d.snaps.Add(ctx, parent.ID, id, func(dir string, w snapshot.Whiteouts) error {
		blob, err := d.blobs.Provide(ctx, diffID)
		if err != nil {
			return err
		}
		return errors.Join(d.fill(ctx, dir, w, ix, layer.NewTarSource(blob), below), blob.Close())
	})
}

// fill writes a layer's files into a directory of the snapshotter's.
func (d *Depot) fill(ctx context.Context, dir string, w snapshot.Whiteouts, ix *layer.Index, src layer.Source, below *Files) error {
	view, err := below.View(ctx)
	if err != nil {
		return err
	}
	return layer.WriteTree(ctx, dir, ix, src, layer.TreeOptions{Whiteouts: whiteouts(w), Below: view, Open: below.OpenPath})
}

// whiteouts translates the snapshotter's word into the layer package's.
func whiteouts(w snapshot.Whiteouts) layer.Whiteouts {
	switch w {
	case snapshot.Trusted:
		return layer.WhiteoutsTrusted
	case snapshot.User:
		return layer.WhiteoutsUser
	default:
		return layer.WhiteoutsApplied
	}
}
