package overlay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
	"builder/snapshot"
)

// Graft makes the tree id of parent and the own layer of from. Both share the
// diff where it is just what the layer changes. It is made anew where its files are
// older than parent's, and where overlayfs has put more into it: files that were
// copied up and not changed, and marks that hide what the layer's own parent did
// not have.
func (s *Store) Graft(ctx context.Context, parent, id, from snapshot.ID, changes iter.Seq[snapshot.Change]) (snapshot.Tree, error) {
	if t, ok, err := s.load(id); ok || err != nil {
		return s.public(t), err
	}
	tree, err := s.graft(ctx, parent, id, from, slices.Collect(changes))
	if err != nil {
		return tree, fmt.Errorf("graft %s onto %s: %w", from, parent, err)
	}
	return tree, nil
}

func (s *Store) graft(ctx context.Context, parent, id, from snapshot.ID, changes []snapshot.Change) (snapshot.Tree, error) {
	below, err := s.mustLoad(parent)
	if err != nil {
		return snapshot.Tree{}, err
	}
	source, err := s.mustLoad(from)
	if err != nil {
		return snapshot.Tree{}, err
	}
	if len(source.diffs) == 0 {
		return snapshot.Tree{}, errors.New("the empty tree has no layer")
	}
	own := source.own()
	later, born := own.begun < below.born(), below.born()
	// Overlayfs does not heed a mark on the root: a root that hides what is below has
	// nothing below.
	all := len(changes)
	changes = slices.DeleteFunc(changes, func(c snapshot.Change) bool { return c == snapshot.Change{Kind: snapshot.Opaque} })
	if len(changes) < all {
		below.diffs = nil
	}
	if !later {
		exact, err := s.exact(ctx, own, below, changes)
		if err != nil {
			return snapshot.Tree{}, s.vanished(err, from)
		}
		if exact {
			return s.publish(ctx, id, below, own, "")
		}
	}
	dir, err := s.fresh(below)
	if err != nil {
		return snapshot.Tree{}, err
	}
	as := diff{newName(), own.begun, own.born}
	if later {
		as.begun, as.born = born, max(born, s.now(below))
	}
	if err := s.rebuild(ctx, own, filepath.Join(dir, "fs"), changes, as, below); err != nil {
		return snapshot.Tree{}, errors.Join(s.vanished(err, from), s.discard(dir))
	}
	return s.publish(ctx, id, below, as, dir)
}

// vanished turns the error of somebody who reads the files of a tree that was
// removed meanwhile into ErrNotFound.
func (s *Store) vanished(err error, id snapshot.ID) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, ok, e := s.load(id); ok || e != nil {
		return err
	}
	return notFound(id)
}

// exact reports whether the diff holds the changes and nothing else, as seen on
// top of below.
func (s *Store) exact(ctx context.Context, own diff, below tree, changes []snapshot.Change) (bool, error) {
	d, err := sys.OpenDir(s.diffPath(own.name))
	if err != nil {
		return false, err
	}
	defer d.Close()
	e := exactness{ctx: ctx, user: s.o.UserXattr, stray: stray{ctx: ctx, stack: s.stack(below)}, want: make(map[snapshot.Change]bool, len(changes))}
	for _, c := range changes {
		e.want[c] = true
	}
	// A diff always has a root.
	root := snapshot.Change{}
	if !e.want[root] {
		same, err := s.sameRoot(d, below)
		if !same || err != nil {
			return false, err
		}
		e.want[root] = true
	}
	err = e.dir(d, "")
	if errors.Is(err, errStop) {
		return false, nil
	}
	return err == nil && e.found == len(e.want), err
}

// sameRoot reports whether the directory d has the mode, owner and attributes of
// a tree's root.
func (s *Store) sameRoot(d sys.Dir, t tree) (bool, error) {
	top := emptyName
	if len(t.diffs) > 0 {
		top = t.own().name
	}
	root, err := sys.OpenDir(s.diffPath(top))
	if err != nil {
		return false, err
	}
	defer root.Close()
	a, err := d.Lstat("")
	if err != nil {
		return false, err
	}
	b, err := root.Lstat("")
	if err != nil {
		return false, err
	}
	if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid {
		return false, nil
	}
	c := sys.Copier{Xattr: notOverlay}
	return c.SameXattrs(d, root)
}

// exactness compares a diff with a list of changes.
type exactness struct {
	ctx   context.Context
	user  bool
	stray stray
	want  map[snapshot.Change]bool
	found int
}

func (e *exactness) see(path string, kind snapshot.Kind) error {
	if !e.want[snapshot.Change{Path: path, Kind: kind}] {
		return errStop
	}
	e.found++
	return nil
}

func (e *exactness) dir(d sys.Dir, path string) error {
	if err := e.ctx.Err(); err != nil {
		return context.Cause(e.ctx)
	}
	if err := e.see(path, snapshot.Modify); err != nil {
		return err
	}
	opaque, err := isOpaque(d, e.user)
	if err != nil {
		return err
	}
	if opaque {
		if err := e.see(path, snapshot.Opaque); err != nil {
			return err
		}
	}
	names, err := d.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := e.entry(d, name, filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

func (e *exactness) entry(d sys.Dir, name, path string) error {
	st, err := d.Lstat(name)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		sub, err := d.OpenDir(name)
		if err != nil {
			return err
		}
		defer sub.Close()
		return e.dir(sub, path)
	}
	white, err := isWhiteout(d, name, &st, e.user)
	if err != nil {
		return err
	}
	if white {
		if hides, err := e.stray.hides(path); err != nil || !hides {
			return cmp.Or(err, errStop)
		}
		return e.see(path, snapshot.Delete)
	}
	return e.see(path, snapshot.Modify)
}
