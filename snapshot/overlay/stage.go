package overlay

import (
	"context"
	"fmt"
	"path/filepath"

	"builder/snapshot"
)

var _ snapshot.Stager = (*Store)(nil)

// staged is a diff in a temporary directory, of no tree yet.
type staged struct {
	s   *Store
	dir string
}

// Stage writes a diff before the tree below is here.
func (s *Store) Stage(_ context.Context, fill func(dir string, w snapshot.Whiteouts) error) (snapshot.Staged, error) {
	dir, err := s.fresh(tree{})
	if err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	if err := fill(filepath.Join(dir, "fs"), s.whiteouts()); err != nil {
		return nil, joinDiscard(err, s.discard(dir))
	}
	return staged{s, dir}, nil
}

// whiteouts is how this store marks removals.
func (s *Store) whiteouts() snapshot.Whiteouts {
	if s.o.UserXattr {
		return snapshot.User
	}
	return snapshot.Trusted
}

// Adopt makes the tree id of parent and the diff. No file of it is younger than
// now, which is when the tree's files count as written.
func (d staged) Adopt(ctx context.Context, parent, id snapshot.ID) (snapshot.Tree, error) {
	t, ok, err := d.s.load(id)
	if ok && err == nil {
		return d.s.public(t), d.Discard()
	}
	below := t
	if err == nil {
		below, err = d.s.mustLoad(parent)
	}
	root := filepath.Join(d.dir, "fs")
	if err == nil && len(below.diffs) > 0 {
		err = d.s.vanished(copyRootMeta(d.s.diffPath(below.own().name), root), parent)
	}
	if err == nil {
		err = d.s.removeStray(ctx, root, below)
	}
	if err != nil {
		return snapshot.Tree{}, joinDiscard(fmt.Errorf("adopt %s: %w", id, err), d.Discard())
	}
	now := d.s.now(below)
	return d.s.publish(ctx, id, below, diff{newName(), now, now}, d.dir)
}

// Discard removes the diff.
func (d staged) Discard() error { return d.s.discard(d.dir) }
