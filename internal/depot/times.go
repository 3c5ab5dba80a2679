package depot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"builder/image"
	"builder/image/layer"
)

// File is a regular file of a tree.
type File struct {
	Path   string
	Digest [32]byte
	Mtime  int64 // in the tree, in nanoseconds since 1970
}

// FilesOf lists the regular files of the tree of a chain that its layers from
// number from on put there, below the path dir; "" is all of them. Trees of the
// layers are here. A further name of a file that a lower layer has is left out.
func (d *Depot) FilesOf(ctx context.Context, chain []image.ContentDigest, from int, dir string) (_ []File, err error) {
	files := d.Files(chain)
	indexes := make([]*layer.Index, 0, len(chain)-from)
	for _, c := range chain[from:] {
		ix, err := d.Index(ctx, c)
		if err != nil {
			return nil, err
		}
		indexes = append(indexes, ix)
	}
	w := fileLister{files: files, stack: layer.NewStack(indexes...), from: from}
	e, ok := w.stack.Lookup(dir)
	switch {
	case !ok:
		return nil, nil
	case e.Type != layer.Dir:
		err = w.add(ctx, e)
	default:
		err = w.walk(ctx, dir)
	}
	return w.list, err
}

type fileLister struct {
	files *Files
	stack *layer.Stack
	from  int
	list  []File
}

func (w *fileLister) walk(ctx context.Context, dir string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, e := range w.stack.ReadDir(dir) {
		var err error
		if e.Type == layer.Dir {
			err = w.walk(ctx, e.Path)
		} else {
			err = w.add(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *fileLister) add(ctx context.Context, e layer.Entry) error {
	if e.Type == layer.Hardlink {
		first, ok := w.stack.Lookup(e.Link)
		if !ok || first.Type != layer.File {
			return nil
		}
		e.Digest = first.Digest
	} else if e.Type != layer.File {
		return nil
	}
	i, ok := w.stack.Layer(e.Path)
	if !ok {
		return nil
	}
	tree, err := w.files.tree(ctx, w.from+i)
	if err != nil {
		return err
	}
	// The snapshotter's own directory: see [Files.Mtime].
	fi, err := os.Lstat(filepath.Join(tree.Dir, filepath.FromSlash(e.Path)))
	if err != nil {
		return fmt.Errorf("layer %s: %w", w.files.chain[w.from+i], err)
	}
	w.list = append(w.list, File{Path: strings.Clone(e.Path), Digest: e.Digest, Mtime: fi.ModTime().UnixNano()})
	return nil
}

// ChangedFiles lists the regular files of the tree of a chain that differ in
// content from those of the tree of old, or are not in it. ok is false where
// nobody knows, or where more than limit bytes would have to be compared: what the
// chains begin with in common costs nothing.
func (d *Depot) ChangedFiles(ctx context.Context, old, chain []image.ContentDigest, limit int64) (list []File, ok bool, err error) {
	same := 0
	for same < min(len(old), len(chain)) && old[same] == chain[same] {
		same++
	}
	paths := map[string]bool{}
	var bytes int64
	for _, c := range slices.Concat(old[same:], chain[same:]) {
		ix, err := d.Index(ctx, c)
		if err != nil {
			return nil, false, ctx.Err() // it is gone
		}
		for i := range ix.Entries {
			if e := &ix.Entries[i]; e.Type == layer.File || e.Type == layer.Hardlink {
				paths[e.Path] = true
				bytes += e.Size
			}
		}
		if bytes > limit {
			return nil, false, nil
		}
	}
	if len(paths) == 0 {
		return nil, true, nil
	}
	was, is := d.Files(old), d.Files(chain)
	before, err := was.View(ctx)
	if err != nil {
		return nil, false, ctx.Err()
	}
	now, err := is.View(ctx)
	if err != nil {
		return nil, false, err
	}
	for path := range paths {
		e, digest, ok := content(now, path)
		if _, had, ok2 := content(before, path); !ok || ok2 && had == digest {
			continue
		}
		mtime, err := is.Mtime(ctx, e)
		if err != nil {
			return nil, false, err
		}
		list = append(list, File{Path: path, Digest: digest, Mtime: mtime})
	}
	return list, true, nil
}

// content finds the regular file at path, under whatever name its bytes stand.
func content(view *layer.Stack, path string) (e layer.Entry, digest [32]byte, ok bool) {
	e, ok = view.Lookup(path)
	if !ok {
		return e, digest, false
	}
	switch e.Type {
	case layer.File:
		return e, e.Digest, true
	case layer.Hardlink:
		first, ok := view.Lookup(e.Link)
		return e, first.Digest, ok && first.Type == layer.File
	default:
		return e, digest, false
	}
}
