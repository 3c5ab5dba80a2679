package depot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"builder/image"
	"builder/snapshot"
)

// Listed is a layer of the depot and the forms in which it lies here.
type Listed struct {
	Content image.ContentDigest
	// Base is set for a layer known by its bytes: a blob that came from elsewhere, or
	// the layer of another build.
	Base  *image.Layer
	Trees []snapshot.ID  // those that have it on top, as far as they were noted
	Tars  []image.Digest // the tars that were written of it
	Used  time.Time      // when somebody relied on it last, to the minute
}

// List returns all layers.
func (d *Depot) List(ctx context.Context) ([]Listed, error) {
	dirs, err := filepath.Glob(filepath.Join(d.dir, "??", "*"))
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	var all []Listed
	for _, dir := range dirs {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c, err := image.ParseContentDigest(filepath.Base(dir))
		if err != nil {
			continue
		}
		l, err := d.listed(c)
		if errors.Is(err, ErrGone) {
			continue // being made, or torn
		}
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func (d *Depot) listed(c image.ContentDigest) (Listed, error) {
	l := Listed{Content: c}
	m, err := d.meta(c)
	if err != nil {
		return l, err
	}
	if m.Foreign != nil {
		l.Base = &m.Foreign.Layer
	}
	st, err := os.Stat(d.path(c, "meta"))
	if err != nil {
		return l, fmt.Errorf("layer %s: %w", c, err)
	}
	l.Used = st.ModTime()
	for _, name := range names(d.path(c, "trees")) {
		if id, err := snapshot.ParseID(name); err == nil {
			l.Trees = append(l.Trees, id)
		}
	}
	for _, name := range names(d.path(c, "tars")) {
		var s sealed
		data, err := os.ReadFile(d.path(c, "tars", name))
		if err == nil && json.Unmarshal(data, &s) == nil && s.DiffID.Validate() == nil {
			l.Tars = append(l.Tars, s.DiffID)
		}
	}
	return l, nil
}

// names lists a directory that may not be there.
func names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// Size returns how many bytes the files of a layer's own tree take, and those of
// its tars and of the blob that it came as.
func (d *Depot) Size(ctx context.Context, l Listed) (int64, error) {
	var size int64
	seen := map[string]bool{}
	for _, id := range l.Trees {
		tree, ok, err := d.snaps.Tree(ctx, id)
		if err != nil {
			return 0, err
		}
		if !ok || seen[tree.Dir] {
			continue
		}
		seen[tree.Dir] = true
		n, err := TreeSize(ctx, tree.Dir)
		if err != nil {
			return 0, err
		}
		size += n
	}
	tars := l.Tars
	if l.Base != nil && l.Base.Blob != nil {
		tars = append(tars[:len(tars):len(tars)], l.Base.Blob.Digest)
	}
	for _, tar := range tars {
		n, _ := d.blobs.Stat(tar)
		size += n
	}
	return size, nil
}

// TreeSize adds up the files below a directory. What vanishes meanwhile counts
// nothing.
func TreeSize(ctx context.Context, dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return errors.Join(err, context.Cause(ctx))
		}
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() {
			size += st.Size()
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", dir, err)
	}
	return size, nil
}

// Remove takes layers out of the depot: their indexes, their trees, and the tars
// that were made of them. The caller knows that nothing needs them. Files go
// into trash, which [builder/cache.Lease] deletes when nobody reads them.
func (d *Depot) Remove(ctx context.Context, trash func(path string) error, layers ...Listed) error {
	var trees []snapshot.ID
	for _, l := range layers {
		trees = append(trees, l.Trees...)
	}
	if len(trees) > 0 {
		if err := d.snaps.Remove(ctx, trees...); err != nil {
			return fmt.Errorf("remove layers: %w", err)
		}
	}
	for _, l := range layers {
		if err := trash(d.path(l.Content)); err != nil {
			return fmt.Errorf("remove layer %s: %w", l.Content, err)
		}
		d.mu.Lock()
		delete(d.indexes, l.Content)
		d.mu.Unlock()
	}
	return nil
}
