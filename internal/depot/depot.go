package depot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/singleflight"

	"builder/image"
	"builder/image/layer"
	"builder/image/store"
	"builder/snapshot"
)

// ErrGone is returned for a layer of which no form is here any more.
var ErrGone = errors.New("layer is not on this machine")

// formatVersion is the version of the files below layers/ (docs/format.md).
const formatVersion = 1

// Options say where a depot keeps what.
type Options struct {
	Dir       string // the directory "layers" of the store
	Temp      string // on the same file system, removed by the owner of the process's lease
	Blobs     *store.Store
	Snapshots snapshot.Snapshotter
	// Limit says how many bytes a layer may unpack to at that moment; nil is no limit. One that
	// has more fails with [layer.ErrLimit].
	Limit func() (int64, error)
}

// Depot is the layers of one store.
type Depot struct {
	dir   string
	temp  string
	blobs *store.Store
	snaps snapshot.Snapshotter
	limit func() (int64, error)

	making  singleflight.Group
	mu      sync.Mutex
	indexes map[image.ContentDigest]*layer.Index
}

// Open returns the depot in a directory, which is made where it is missing.
func Open(o Options) (*Depot, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open layers: %w", err)
	}
	return &Depot{dir: o.Dir, temp: o.Temp, blobs: o.Blobs, snaps: o.Snapshots, limit: o.Limit, indexes: map[image.ContentDigest]*layer.Index{}}, nil
}

// meta is the file "meta" of a layer: what has to be known of it without
// reading its index.
type meta struct {
	Version int
	// Reach is how many layers below its own the layer's tar takes stamps from.
	Reach int `json:",omitempty"`
	// Foreign is where the layer came from, for one that is a base.
	Foreign *foreign `json:",omitempty"`
}

// foreign is a layer known by its bytes: a blob that came from elsewhere, or a
// layer made here by another build.
type foreign struct {
	DiffID image.Digest
	Layer  image.Layer
}

func (d *Depot) path(c image.ContentDigest, name ...string) string {
	return filepath.Join(append([]string{d.dir, c.String()[:2], c.String()}, name...)...)
}

// meta reads what is known of a layer. A layer that is not here is ErrGone.
func (d *Depot) meta(c image.ContentDigest) (meta, error) {
	var m meta
	data, err := os.ReadFile(d.path(c, "meta"))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("layer %s: %w", c, ErrGone)
	}
	if err != nil {
		return m, fmt.Errorf("layer %s: %w", c, err)
	}
	if err := json.Unmarshal(data, &m); err != nil || m.Version != formatVersion {
		return m, fmt.Errorf("layer %s: meta of version %d is not readable: %w", c, m.Version, ErrGone)
	}
	return m, nil
}

// publish writes a small file below a layer's directory. The first writer wins.
func (d *Depot) publish(c image.ContentDigest, name string, write func(*os.File) error) error {
	target := d.path(c, name)
	if _, err := os.Lstat(target); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return fmt.Errorf("publish %s: %w", target, err)
	}
	f, err := os.CreateTemp(d.temp, "layer-*")
	if err != nil {
		return fmt.Errorf("publish %s: %w", target, err)
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("publish %s: %w", target, err), os.Remove(f.Name()))
	}
	return nil
}

// register publishes a layer's index and meta. After it the layer is known.
func (d *Depot) register(c image.ContentDigest, ix *layer.Index, f *foreign) error {
	if ix != nil {
		d.remember(c, ix)
		if err := d.publish(c, "index", func(f *os.File) error { return ix.Encode(f) }); err != nil {
			return err
		}
	}
	m := meta{Version: formatVersion, Foreign: f}
	if ix != nil && f == nil {
		m.Reach = reach(ix)
	}
	return d.publish(c, "meta", func(f *os.File) error { return json.NewEncoder(f).Encode(m) })
}

// reach is how many layers below its own an index takes stamps from.
func reach(ix *layer.Index) int {
	deepest := 0
	for i := range ix.Entries {
		deepest = max(deepest, int(ix.Entries[i].Pyc)-1)
	}
	return deepest
}

// remember keeps an index in memory for the rest of the process.
func (d *Depot) remember(c image.ContentDigest, ix *layer.Index) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.indexes[c] = ix
}

// Has reports whether a layer's files can be had here in some form, and notes that it is
// used. It is what a record's hit depends on.
func (d *Depot) Has(ctx context.Context, c image.ContentDigest) (bool, error) {
	if here, err := d.Use(c); !here || err != nil {
		return false, err
	}
	m, err := d.meta(c)
	if errors.Is(err, ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if m.Foreign != nil {
		if l := m.Foreign.Layer; !l.Foreign() {
			return d.Has(ctx, l.Content)
		}
		return d.blobs.Has(m.Foreign.Layer.Blob.Digest), nil
	}
	if _, ok, err := d.source(ctx, c); ok || err != nil {
		return ok, err
	}
	_, ok := d.tar(c)
	return ok, nil
}

// Index returns what a layer holds. The index is shared and must not be changed.
func (d *Depot) Index(ctx context.Context, c image.ContentDigest) (*layer.Index, error) {
	return d.index(ctx, c, nil)
}

// index is Index for a layer that stands on the tree below. A foreign layer's
// blob is read for it the first time.
func (d *Depot) index(ctx context.Context, c image.ContentDigest, below layer.View) (*layer.Index, error) {
	d.mu.Lock()
	ix, ok := d.indexes[c]
	d.mu.Unlock()
	if ok {
		return ix, nil
	}
	v, err, _ := d.making.Do("index "+c.String(), func() (any, error) {
		data, err := os.ReadFile(d.path(c, "index"))
		if errors.Is(err, fs.ErrNotExist) {
			return d.scanForeign(ctx, c, below)
		}
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", c, err)
		}
		ix, err := layer.Decode(data)
		if err != nil {
			return d.repair(ctx, c, below, err)
		}
		d.remember(c, ix)
		return ix, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*layer.Index), nil
}

// repair makes a torn index again, which can be done where the layer's bytes
// are here as they came.
func (d *Depot) repair(ctx context.Context, c image.ContentDigest, below layer.View, torn error) (*layer.Index, error) {
	m, err := d.meta(c)
	if err != nil {
		return nil, err
	}
	if m.Foreign == nil {
		return nil, fmt.Errorf("layer %s: index: %w", c, torn)
	}
	if err := os.Remove(d.path(c, "index")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("layer %s: index: %w", c, err)
	}
	return d.scanForeign(ctx, c, below)
}
