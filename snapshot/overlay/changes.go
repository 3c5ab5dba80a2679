package overlay

import (
	"context"
	"errors"
	"iter"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
	"builder/snapshot"
)

// Changes lists what the upper directory holds. A directory that hides what is
// below it is told by what it hides, path by path: so the list does not depend on
// whether a directory was emptied or made again, and is that of any other way to
// keep trees.
func (a *active) Changes(ctx context.Context) iter.Seq2[snapshot.Change, error] {
	return func(yield func(snapshot.Change, error) bool) {
		w := walker{ctx: ctx, user: a.s.o.UserXattr, stack: a.s.stack(a.parent), yield: yield}
		if err := w.root(a.Dir()); err != nil && !errors.Is(err, errStop) {
			yield(snapshot.Change{}, err)
		}
	}
}

// errStop ends a walk whose caller wants no more.
var errStop = errors.New("stop")

type walker struct {
	ctx   context.Context
	user  bool
	stack stack
	yield func(snapshot.Change, error) bool
}

func (w *walker) emit(path string, kind snapshot.Kind) error {
	if !w.yield(snapshot.Change{Path: path, Kind: kind}, nil) {
		return errStop
	}
	return nil
}

func (w *walker) root(upper string) error {
	d, err := sys.OpenDir(upper)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := w.emit("", snapshot.Modify); err != nil {
		return err
	}
	return w.dir(d, "", false)
}

// dir lists what is below the directory d at path. Where it is hiding, what the
// lower directories have at path is not to be seen.
func (w *walker) dir(d sys.Dir, path string, hiding bool) error {
	if err := w.ctx.Err(); err != nil {
		return context.Cause(w.ctx)
	}
	names, err := d.Names()
	if err != nil {
		return err
	}
	var gone, here []string
	stats := make(map[string]unix.Stat_t, len(names))
	for _, name := range names {
		st, err := d.Lstat(name)
		if err != nil {
			return err
		}
		white, err := isWhiteout(d, name, &st, w.user)
		if err != nil {
			return err
		}
		if white {
			gone = append(gone, name)
			continue
		}
		here = append(here, name)
		stats[name] = st
	}
	if hiding {
		below, err := w.stack.names(path)
		if err != nil {
			return err
		}
		hiding = len(below) > 0
		gone = slices.DeleteFunc(below, func(name string) bool { _, ok := stats[name]; return ok })
	}
	for _, name := range gone {
		if err := w.emit(filepath.Join(path, name), snapshot.Delete); err != nil {
			return err
		}
	}
	for _, name := range here {
		if err := w.entry(d, name, filepath.Join(path, name), stats[name], hiding); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(d sys.Dir, name, path string, st unix.Stat_t, hiding bool) error {
	if err := w.emit(path, snapshot.Modify); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	sub, err := d.OpenDir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	opaque, err := isOpaque(sub, w.user)
	if err != nil {
		return err
	}
	return w.dir(sub, path, hiding || opaque)
}
