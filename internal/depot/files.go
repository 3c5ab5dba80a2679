package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"builder/image"
	"builder/image/layer"
	"builder/snapshot"
)

// Files is the tree of a chain as something to look at and to copy from,
// without mounting it. Metadata comes from the indexes of its layers, read at
// the first look; contents from their trees, made at the first [Files.Open].
type Files struct {
	depot *Depot
	chain []image.ContentDigest

	mu    sync.Mutex
	stack *layer.Stack
	trees map[int]snapshot.Tree
	dirs  map[int]*layer.DirSource
}

// Files returns the tree of a chain for reading. Close it after use.
func (d *Depot) Files(chain []image.ContentDigest) *Files {
	return &Files{depot: d, chain: chain, trees: map[int]snapshot.Tree{}, dirs: map[int]*layer.DirSource{}}
}

// View returns the tree's metadata.
func (f *Files) View(ctx context.Context) (*layer.Stack, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stack != nil {
		return f.stack, nil
	}
	indexes := make([]*layer.Index, len(f.chain))
	for i, c := range f.chain {
		ix, err := f.depot.index(ctx, c, layer.NewStack(indexes[:i]...))
		if err != nil {
			return nil, err
		}
		indexes[i] = ix
	}
	f.stack = layer.NewStack(indexes...)
	return f.stack, nil
}

// Open opens the contents of the regular file e of the tree.
func (f *Files) Open(ctx context.Context, e layer.Entry) (io.ReadCloser, error) {
	i, err := f.layer(ctx, e.Path)
	if err != nil {
		return nil, err
	}
	dir, err := f.dir(ctx, i)
	if err != nil {
		return nil, err
	}
	return dir.Open(ctx, e)
}

// OpenPath is Open for the file at a path.
func (f *Files) OpenPath(ctx context.Context, path string) (io.ReadCloser, error) {
	stack, err := f.View(ctx)
	if err != nil {
		return nil, err
	}
	e, ok := stack.Lookup(path)
	if !ok {
		return nil, fmt.Errorf("open %s: %w", path, os.ErrNotExist)
	}
	return f.Open(ctx, e)
}

// Mtime returns the time that the entry has in the tree of the chain, which must
// be here, in nanoseconds since 1970. It is not always that of the index: a
// layer's tree can be made more than once.
func (f *Files) Mtime(ctx context.Context, e layer.Entry) (int64, error) {
	i, err := f.layer(ctx, e.Path)
	if err != nil {
		return 0, err
	}
	tree, err := f.tree(ctx, i)
	if err != nil {
		return 0, err
	}
	// The snapshotter's own directory: no symbolic link of the image is followed,
	// since the entry's parents are directories in the same layer.
	fi, err := os.Lstat(filepath.Join(tree.Dir, filepath.FromSlash(e.Path)))
	if err != nil {
		return 0, fmt.Errorf("layer %s: %w", f.chain[i], err)
	}
	return fi.ModTime().UnixNano(), nil
}

func (f *Files) layer(ctx context.Context, path string) (int, error) {
	stack, err := f.View(ctx)
	if err != nil {
		return 0, err
	}
	i, ok := stack.Layer(path)
	if !ok {
		return 0, fmt.Errorf("open %s: %w", path, os.ErrNotExist)
	}
	return i, nil
}

// tree finds the tree in which the files of the chain's layer i stand: the
// chain's own where it is here.
func (f *Files) tree(ctx context.Context, i int) (snapshot.Tree, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if tree, ok := f.trees[i]; ok {
		return tree, nil
	}
	var id snapshot.ID
	for _, c := range f.chain[:i+1] {
		id = snapshot.Chain(id, c)
	}
	tree, ok, err := f.depot.snaps.Tree(ctx, id)
	if err == nil && !ok {
		tree, ok, err = f.depot.source(ctx, f.chain[i])
	}
	if err == nil && !ok {
		tree, err = f.depot.Tree(ctx, f.chain[:i+1])
	}
	if err != nil {
		return tree, err
	}
	f.trees[i] = tree
	return tree, nil
}

// dir opens the directory with the files of the chain's layer i.
func (f *Files) dir(ctx context.Context, i int) (*layer.DirSource, error) {
	tree, err := f.tree(ctx, i)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if dir, ok := f.dirs[i]; ok {
		return dir, nil
	}
	dir, err := layer.OpenDir(tree.Dir)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", f.chain[i], err)
	}
	f.dirs[i] = dir
	return dir, nil
}

// Close lets go of the open directories.
func (f *Files) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for i, dir := range f.dirs {
		errs = append(errs, dir.Close())
		delete(f.dirs, i)
	}
	return errors.Join(errs...)
}

// Lazy is a tree's metadata whose indexes are read when somebody looks: most
// steps change what no lower layer has.
type Lazy struct {
	ctx   context.Context //nolint:containedctx // a View has no place for it, and this one lives as long as one call
	files *Files
	mu    sync.Mutex
	err   error
}

var _ layer.View = (*Lazy)(nil)

// Lazy returns the tree's metadata as a view that reads nothing before the
// first look. What it answers counts only if [Lazy.Err] is nil afterwards.
func (f *Files) Lazy(ctx context.Context) *Lazy { return &Lazy{ctx: ctx, files: f} }

// Err is what kept the view from answering truly.
func (l *Lazy) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *Lazy) stack() *layer.Stack {
	stack, err := l.files.View(l.ctx)
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.err = err
		return layer.NewStack()
	}
	return stack
}

// Lookup implements [layer.View].
func (l *Lazy) Lookup(path string) (layer.Entry, bool) { return l.stack().Lookup(path) }

// ReadDir implements [layer.View].
func (l *Lazy) ReadDir(path string) []layer.Entry { return l.stack().ReadDir(path) }

// Layer is [layer.Stack.Layer].
func (l *Lazy) Layer(path string) (int, bool) { return l.stack().Layer(path) }

// Len is the number of layers.
func (l *Lazy) Len() int { return len(l.files.chain) }

// Flatten returns the whole tree as one layer whose entries have the times that
// they have in the layers' tars: those of layers with the identities and stamps
// given.
func (f *Files) Flatten(ctx context.Context, layers []image.Layer) (*layer.Index, error) {
	stack, err := f.View(ctx)
	if err != nil {
		return nil, err
	}
	return stack.Flatten(func(i int, e layer.Entry) int64 {
		if l := layers[i]; !l.Foreign() {
			return l.Stamps[0] * 1e9
		}
		return e.Mtime
	})
}
