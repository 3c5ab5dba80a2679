package layer

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

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
	// First what may be in the way of files, then files, then further names of them.
	err = w.each(ctx, func(e *Entry) bool { return e.Type != File && !w.isOwnLink(e) })
	if err == nil {
		err = w.contents(ctx, dir, src)
	}
	if err == nil {
		err = w.each(ctx, w.isOwnLink)
	}
	if err == nil {
		err = t.finish(ctx, ix, w.mtime)
	}
	if err != nil {
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

// isOwnLink reports whether an entry is another name of a file of this layer.
func (w *indexWriter) isOwnLink(e *Entry) bool {
	if e.Type != Hardlink {
		return false
	}
	_, ok := w.ix.search(e.Link, false)
	return ok
}

// each writes the entries that which selects, none a file, in order.
func (w *indexWriter) each(ctx context.Context, which func(*Entry) bool) error {
	for i := range w.ix.Entries {
		e := &w.ix.Entries[i]
		if i%64 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !which(e) {
			continue
		}
		if err := w.write(ctx, e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return nil
}

// contents writes the files, several at a time. The directories that they are in
// are there, and no file is in another's way.
func (w *indexWriter) contents(ctx context.Context, dir string, src Source) error {
	todo := &batches{ix: w.ix}
	from, to := todo.next()
	if err := w.batch(ctx, from, to); err != nil || to == len(w.ix.Entries) {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for range readers(src) {
		g.Go(func() (err error) {
			t, err := newTreeWriter(dir, w.o.Whiteouts, w.o.Below, w.o.Open)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, t.close()) }()
			one := &indexWriter{ix: w.ix, o: w.o, tree: t, files: newCopier(src)}
			for {
				from, to := todo.next()
				if from == to {
					return nil
				}
				if err := one.batch(ctx, from, to); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// batch writes the files of a range of entries.
func (w *indexWriter) batch(ctx context.Context, from, to int) error {
	for i := from; i < to; i++ {
		e := &w.ix.Entries[i]
		if e.Type != File {
			continue
		}
		if i%64 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := w.file(ctx, e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return nil
}

func (w *indexWriter) mtime(e *Entry) int64 {
	if w.o.Time.IsZero() {
		return e.Mtime
	}
	return w.o.Time.UnixNano()
}

// write writes what is no file.
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
	case Hardlink:
		if w.isOwnLink(e) {
			return w.tree.link(e.Link, e.Path)
		}
		return w.tree.linkBelow(ctx, e.Link, e.Path)
	case Whiteout:
		return w.tree.whiteout(e.Path)
	default:
		return w.tree.node(e, w.mtime(e))
	}
}

// file writes a file.
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
	source, ok := w.ix.source(e.Path)
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
