package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"builder/snapshot"
)

// Keep makes or opens a writable tree on top of parent in the directory dir.
func (s *Store) Keep(_ context.Context, parent snapshot.ID, dir string) (snapshot.Active, error) {
	t, err := s.mustLoad(parent)
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", dir, err)
	}
	a := &active{s: s, dir: dir, parent: t, begun: s.now(t)}
	_, err = os.Lstat(a.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		err = s.freshIn(dir, t)
	}
	if err == nil {
		err = os.Mkdir(a.work(), 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("keep %s: %w", dir, err)
	}
	return a, nil
}
