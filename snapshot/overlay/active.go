package overlay

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"builder/internal/sys"
	"builder/snapshot"
)

// active is a writable tree: a temporary directory with the future diff in fs and
// overlayfs's scratch space in work.
type active struct {
	s      *Store
	dir    string
	parent tree
	begun  int64
}

var _ snapshot.Active = (*active)(nil)

// Prepare makes a writable tree on top of parent.
func (s *Store) Prepare(ctx context.Context, parent snapshot.ID) (snapshot.Active, error) {
	t, err := s.mustLoad(parent)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	dir, err := s.fresh(t)
	if err != nil {
		return nil, fmt.Errorf("prepare on %s: %w", parent, err)
	}
	a := &active{s: s, dir: dir, parent: t, begun: s.now(t)}
	if err := os.Mkdir(a.work(), 0o700); err != nil {
		return nil, fmt.Errorf("prepare on %s: %w", parent, err)
	}
	return a, nil
}

func (a *active) work() string { return filepath.Join(a.dir, "work") }

// Dir returns the upper directory.
func (a *active) Dir() string { return filepath.Join(a.dir, "fs") }

// Mount says how to mount the tree writable.
func (a *active) Mount() snapshot.Mount {
	return snapshot.Mount{
		Lower: a.s.lower(a.parent, 1), Upper: a.Dir(), Work: a.work(),
		Writable: true, UserXattr: a.s.o.UserXattr,
	}
}

// Commit makes a the tree id.
func (s *Store) Commit(ctx context.Context, of snapshot.Active, id snapshot.ID) (snapshot.Tree, error) {
	a, ok := of.(*active)
	if !ok || a.s.o.Dir != s.o.Dir {
		return snapshot.Tree{}, fmt.Errorf("commit %s: the active tree is not of this store", id)
	}
	d, err := sys.OpenDir(a.dir)
	if err != nil {
		return snapshot.Tree{}, fmt.Errorf("commit %s: %w", id, err)
	}
	defer d.Close()
	if err := d.RemoveAll("work"); err != nil {
		return snapshot.Tree{}, fmt.Errorf("commit %s: %w", id, err)
	}
	own := diff{newName(), a.begun, s.now(a.parent)}
	tree, err := s.publish(ctx, id, a.parent, own, a.dir)
	if err != nil {
		return tree, fmt.Errorf("commit %s: %w", id, err)
	}
	return tree, nil
}

// Discard removes an active tree.
func (s *Store) Discard(ctx context.Context, of snapshot.Active) error {
	a, ok := of.(*active)
	if !ok || a.s.o.Dir != s.o.Dir {
		return fmt.Errorf("discard: the active tree is not of this store")
	}
	if err := s.discard(a.dir); err != nil {
		return fmt.Errorf("discard: %w", err)
	}
	return nil
}

// Add makes the tree id out of parent and what fill writes.
func (s *Store) Add(ctx context.Context, parent, id snapshot.ID, fill func(dir string, w snapshot.Whiteouts) error) (snapshot.Tree, error) {
	if t, ok, err := s.load(id); ok || err != nil {
		return s.public(t), err
	}
	tree, err := s.add(ctx, parent, id, fill)
	if err != nil {
		return tree, fmt.Errorf("add %s: %w", id, err)
	}
	return tree, nil
}

func (s *Store) add(ctx context.Context, parent, id snapshot.ID, fill func(dir string, w snapshot.Whiteouts) error) (snapshot.Tree, error) {
	t, err := s.mustLoad(parent)
	if err != nil {
		return snapshot.Tree{}, err
	}
	dir, err := s.fresh(t)
	if err != nil {
		return snapshot.Tree{}, err
	}
	begun := s.now(t)
	err = fill(filepath.Join(dir, "fs"), s.whiteouts())
	if err == nil {
		err = s.removeStray(ctx, filepath.Join(dir, "fs"), t)
	}
	if err != nil {
		return snapshot.Tree{}, joinDiscard(err, s.discard(dir))
	}
	return s.publish(ctx, id, t, diff{newName(), begun, s.now(t)}, dir)
}

// removeStray removes the marks from a diff that hide nothing of parent: a layer
// from elsewhere may have such.
func (s *Store) removeStray(ctx context.Context, diff string, parent tree) error {
	d, err := sys.OpenDir(diff)
	if err != nil {
		return err
	}
	defer d.Close()
	r := stray{ctx: ctx, stack: s.stack(parent)}
	return r.remove(d, "")
}
