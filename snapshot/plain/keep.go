package plain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"builder/snapshot"
)

// Keep makes or opens a writable copy of parent in the directory dir. What the
// copy looked like at first is not kept: [snapshot.Active.Changes] lists every
// path then.
func (s *Store) Keep(ctx context.Context, parent snapshot.ID, dir string) (snapshot.Active, error) {
	n, err := s.mustLoad(parent)
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", dir, err)
	}
	a := &active{s: s, dir: dir, parent: n, begun: s.now(n)}
	_, err = os.Lstat(a.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		err = s.copyInto(ctx, n, dir)
	}
	if err == nil {
		a.before, err = list(ctx, s.source(n))
	}
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", dir, err)
	}
	return a, nil
}
