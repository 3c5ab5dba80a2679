package overlay

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"builder/internal/sys"
	"builder/snapshot"
)

// joinDiscard adds what went wrong while cleaning up to the error that made it
// necessary.
func joinDiscard(err, cleanup error) error { return errors.Join(err, cleanup) }

// publish makes the diff own, whose files are in the temporary directory dir, and the
// tree id that has it on top of parent, visible. Where dir is empty the diff is
// already here. Where the tree is, dir is discarded and that tree returned.
func (s *Store) publish(ctx context.Context, id snapshot.ID, parent tree, own diff, dir string) (snapshot.Tree, error) {
	t := tree{id: id, parent: parent.id}
	lower, merged, err := s.shorten(ctx, parent.diffs)
	if err != nil {
		return snapshot.Tree{}, errors.Join(err, s.discardAll(dir, merged))
	}
	t.diffs = append(lower, own)
	winner, won, err := s.insert(t, parent, dir, merged)
	if err == nil && !won {
		return s.public(winner), s.discardAll(dir, merged)
	}
	if err != nil {
		return snapshot.Tree{}, errors.Join(err, s.discardAll(dir, merged))
	}
	return s.public(t), nil
}

// discardAll discards those temporary directories that are still there.
func (s *Store) discardAll(dirs ...string) error {
	var errs []error
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if err := s.discard(dir); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// insert publishes t. A tree file in its place that is torn, or whose diffs
// are gone, is taken away first.
func (s *Store) insert(t, parent tree, dir, merged string) (winner tree, won bool, err error) {
	file, err := s.writeTree(t)
	if err != nil {
		return tree{}, false, err
	}
	for range 2 {
		winner, won, err = s.link(t, parent, file, dir, merged)
		if !errors.Is(err, errTree) {
			break
		}
		if err := s.dropBroken(t.id); err != nil {
			return tree{}, false, err
		}
	}
	if won {
		return winner, won, err
	}
	return winner, won, errors.Join(err, os.Remove(file))
}

// link publishes t, written to file, while no diff can be removed. The error
// is errTree where something that is no tree has its place.
func (s *Store) link(t, parent tree, file, dir, merged string) (winner tree, won bool, err error) {
	unlock, err := s.lock(sys.LockShared)
	if err != nil {
		return tree{}, false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := os.Lstat(s.treePath(t.id.String())); err == nil {
		return s.existing(t.id)
	}
	// A parent removed since it was read has taken diffs along, unless another
	// tree has them too.
	gone, err := s.missing(without(t.diffs, dir, merged, t))
	if err != nil {
		return tree{}, false, err
	}
	if gone {
		return tree{}, false, notFound(parent.id)
	}
	if dir != "" {
		if err := sys.RenameNoReplace(dir, s.diffDir(t.own().name)); err != nil {
			return tree{}, false, err
		}
	}
	if merged != "" {
		if err := sys.RenameNoReplace(merged, s.diffDir(t.diffs[0].name)); err != nil {
			return tree{}, false, s.takeBack(err, t, dir, "")
		}
	}
	err = sys.RenameNoReplace(file, s.treePath(t.id.String()))
	if err == nil {
		return t, true, nil
	}
	err = s.takeBack(err, t, dir, merged)
	if errors.Is(err, fs.ErrExist) {
		return s.existing(t.id)
	}
	return tree{}, false, err
}

// without returns the diffs of t that must be here already: all but the own one
// if it comes from dir, and the merged one.
func without(diffs []diff, dir, merged string, t tree) []diff {
	if dir != "" {
		diffs = diffs[:len(diffs)-1]
	}
	if merged != "" {
		diffs = diffs[1:]
	}
	return diffs
}

// takeBack undoes the renames of link after err, so that the files can be
// discarded as the temporary ones that they are again.
func (s *Store) takeBack(err error, t tree, dir, merged string) error {
	if dir != "" {
		if e := sys.RenameNoReplace(s.diffDir(t.own().name), dir); e != nil {
			return errors.Join(err, e)
		}
	}
	if merged != "" {
		if e := sys.RenameNoReplace(s.diffDir(t.diffs[0].name), merged); e != nil {
			return errors.Join(err, e)
		}
	}
	return err
}

// existing returns the tree that was there first, or errTree.
func (s *Store) existing(id snapshot.ID) (winner tree, won bool, err error) {
	winner, ok, err := s.load(id)
	if err == nil && !ok {
		err = errTree
	}
	return winner, false, err
}

// dropBroken takes away a tree file that no longer names a tree.
func (s *Store) dropBroken(id snapshot.ID) (err error) {
	unlock, err := s.lock(sys.Lock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, ok, err := s.load(id); ok || err != nil {
		return err
	}
	if err := os.RemoveAll(s.treePath(id.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeTree writes a tree file to a temporary place.
func (s *Store) writeTree(t tree) (path string, err error) {
	temp, err := s.o.Temp()
	if err != nil {
		return "", err
	}
	path = filepath.Join(temp, newName()+".tree")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	_, err = f.Write(t.encode(s.o.UserXattr))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

// lock takes the store's lock, with the call given. It is held for some system
// calls by those who publish, and for one look at all tree files by Remove.
func (s *Store) lock(how func(*os.File) error) (unlock func() error, err error) {
	f, err := os.OpenFile(s.treePath("lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := how(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
