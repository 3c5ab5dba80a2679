package plain

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"builder/snapshot"
)

// active is a writable tree: a temporary directory with a copy of the parent in
// fs.
type active struct {
	s      *Store
	dir    string
	parent note
	begun  int64
	before listing
}

var _ snapshot.Active = (*active)(nil)

// Prepare makes a writable copy of parent.
func (s *Store) Prepare(ctx context.Context, parent snapshot.ID) (snapshot.Active, error) {
	n, err := s.mustLoad(parent)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	dir, err := s.copy(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("prepare on %s: %w", parent, err)
	}
	a := &active{s: s, dir: dir, parent: n}
	if a.before, err = list(ctx, a.Dir()); err != nil {
		return nil, fmt.Errorf("prepare on %s: %w", parent, errors.Join(err, s.discard(dir)))
	}
	a.begun = s.now(n)
	return a, nil
}

// Dir returns the directory of the whole tree.
func (a *active) Dir() string { return filepath.Join(a.dir, "fs") }

// Mount says how to mount the tree writable.
func (a *active) Mount() snapshot.Mount { return snapshot.Mount{Source: a.Dir(), Writable: true} }

// Commit makes a the tree id.
func (s *Store) Commit(ctx context.Context, of snapshot.Active, id snapshot.ID) (snapshot.Tree, error) {
	a, ok := of.(*active)
	if !ok || a.s.o.Dir != s.o.Dir {
		return snapshot.Tree{}, fmt.Errorf("commit %s: the active tree is not of this store", id)
	}
	tree, err := s.publish(note{id: id, parent: a.parent.id, begun: a.begun, born: s.now(a.parent)}, a.dir)
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

// Add makes the tree id out of a copy of parent and what fill does to it.
func (s *Store) Add(ctx context.Context, parent, id snapshot.ID, fill func(dir string, w snapshot.Whiteouts) error) (snapshot.Tree, error) {
	if n, ok, err := s.load(id); ok || err != nil {
		return s.public(n), err
	}
	tree, err := s.add(ctx, parent, id, fill)
	if err != nil {
		return tree, fmt.Errorf("add %s: %w", id, err)
	}
	return tree, nil
}

func (s *Store) add(ctx context.Context, parent, id snapshot.ID, fill func(dir string, w snapshot.Whiteouts) error) (snapshot.Tree, error) {
	n, err := s.mustLoad(parent)
	if err != nil {
		return snapshot.Tree{}, err
	}
	dir, err := s.copy(ctx, n)
	if err != nil {
		return snapshot.Tree{}, err
	}
	begun := s.now(n)
	if err := fill(filepath.Join(dir, "fs"), snapshot.Applied); err != nil {
		return snapshot.Tree{}, errors.Join(err, s.discard(dir))
	}
	return s.publish(note{id: id, parent: parent, begun: begun, born: s.now(n)}, dir)
}
