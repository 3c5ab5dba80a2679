package layer

import (
	"context"
	"errors"
	"fmt"

	"builder/internal/sys"
)

// WriteTree writes the layer into the directory dir. Files are verified as they
// are copied: one that is not as ix says fails with [ErrChanged]. A compiled
// Python file whose source is in the same layer gets the source's mtime in its
// header. A failed WriteTree leaves dir unusable. The caller owns dir: nobody
// else changes it meanwhile.
func WriteTree(ctx context.Context, dir string, ix *Index, src Source, o TreeOptions) (err error) {
	t, err := newTreeWriter(dir, o.Whiteouts, o.Below, o.Open)
	if err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	defer func() { err = errors.Join(err, t.close()) }()
	w := &indexWriter{ix: ix, o: o, tree: t, files: newCopier(src)}
	for i := range ix.Entries {
		e := &ix.Entries[i]
		if i%64 == 0 && ctx.Err() != nil {
			return fmt.Errorf("write tree: %w", context.Cause(ctx))
		}
		if err := w.write(ctx, e); err != nil {
			return fmt.Errorf("write tree: %s: %w", e.Path, err)
		}
	}
	if err := t.finish(ctx, ix, w.mtime); err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	return nil
}

// indexWriter writes the entries of one index.
type indexWriter struct {
	ix    *Index
	o     TreeOptions
	tree  *treeWriter
	files *copier
}

func (w *indexWriter) mtime(e *Entry) int64 {
	if w.o.Time.IsZero() {
		return e.Mtime
	}
	return w.o.Time.UnixNano()
}

func (w *indexWriter) write(ctx context.Context, e *Entry) error {
	switch e.Type {
	case Dir:
		if e.Path == "" {
			if e.Opaque && w.o.Whiteouts == WhiteoutsApplied {
				return w.tree.prune("", &node{})
			}
			return nil
		}
		if err := w.tree.mkdir(e.Path); err != nil {
			return err
		}
		if e.Opaque && w.o.Whiteouts == WhiteoutsApplied {
			return w.tree.prune(e.Path, &node{})
		}
		return nil
	case File:
		return w.file(ctx, e)
	case Hardlink:
		if _, ok := w.ix.search(e.Link, false); !ok {
			return w.tree.linkBelow(ctx, e.Link, e.Path)
		}
		return w.tree.link(e.Link, e.Path)
	case Whiteout:
		return w.tree.whiteout(e.Path)
	default:
		return w.tree.node(e, w.mtime(e))
	}
}

func (w *indexWriter) file(ctx context.Context, e *Entry) error {
	return w.tree.create(e, w.mtime(e), func(f sys.File) error {
		if e.Size == 0 && e.Digest == emptyDigest {
			return nil
		}
		to := &fileWindow{f: f, buf: w.tree.buf}
		time, ok := w.sourceTime(e)
		if ok {
			return w.files.copy(ctx, to, e, &time)
		}
		return w.files.copy(ctx, to, e, nil)
	})
}

// sourceTime returns what the header of a compiled Python file has to say, where
// its source is written with it.
func (w *indexWriter) sourceTime(e *Entry) (seconds int64, ok bool) {
	if e.Pyc != 1 {
		return 0, false
	}
	path, ok := pycSource(e.Path)
	if !ok {
		return 0, false
	}
	source, ok := w.ix.Find(path)
	return w.mtime(&source) / 1e9, ok
}

// fileWindow writes what was put into its buffer to a file, piece by piece.
type fileWindow struct {
	f   sys.File
	buf []byte
}

// space implements window.
func (w *fileWindow) space() ([]byte, error) { return w.buf, nil }

// advance implements window.
func (w *fileWindow) advance(n int) error {
	_, err := w.f.Write(w.buf[:n])
	return err
}
