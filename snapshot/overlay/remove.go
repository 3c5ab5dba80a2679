package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"builder/internal/sys"
	"builder/snapshot"
)

func notFound(id snapshot.ID) error { return fmt.Errorf("snapshot %s: %w", id, snapshot.ErrNotFound) }

// Remove moves trees, and the diffs that no other tree has, into the trash. All
// tree files are read once, however many trees are removed.
func (s *Store) Remove(ctx context.Context, ids ...snapshot.ID) (err error) {
	trash, err := s.o.Trash()
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	unlock, err := s.lock(sys.Lock)
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	for _, id := range ids {
		err := sys.RenameNoReplace(s.treePath(id.String()), filepath.Join(trash, newName()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", id, err)
		}
	}
	if err := s.collect(trash); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// collect moves the diffs that no tree names into the trash. The lock is held.
func (s *Store) collect(trash string) error {
	used, err := s.used()
	if err != nil {
		return err
	}
	diffs, err := os.ReadDir(filepath.Join(s.o.Dir, "diffs"))
	if err != nil {
		return err
	}
	for _, e := range diffs {
		if used[e.Name()] || !isDiffName(e.Name()) {
			continue
		}
		if err := sys.RenameNoReplace(s.diffDir(e.Name()), filepath.Join(trash, newName())); err != nil {
			return err
		}
	}
	return nil
}

// used returns the diffs that trees name, whichever marks they use.
func (s *Store) used() (map[string]bool, error) {
	files, err := os.ReadDir(s.treePath(""))
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, e := range files {
		if _, err := snapshot.ParseID(e.Name()); err != nil {
			continue
		}
		t, err := s.readAnyTree(e.Name())
		if errors.Is(err, errTree) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, d := range t.diffs {
			used[d.name] = true
		}
	}
	return used, nil
}

// readAnyTree reads a tree file of either kind of marks.
func (s *Store) readAnyTree(name string) (tree, error) {
	t, err := s.readTree(name)
	if errors.Is(err, errTree) {
		other := Store{o: s.o}
		other.o.UserXattr = !s.o.UserXattr
		return other.readTree(name)
	}
	return t, err
}
