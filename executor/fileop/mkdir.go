package fileop

import (
	"context"
	"time"

	"builder/planner"
)

// Mkdir computes the layer that op adds to dst: the directories that are missing
// on the way to its path, 0755, owned by its user. Where there are none, the
// layer is empty.
func Mkdir(ctx context.Context, op planner.Mkdir, dst Tree, now time.Time) (*Result, error) {
	own, err := findOwner(ctx, op.User, dst)
	if err != nil {
		return nil, err
	}
	c := &copier{tree: newTree(dst.View, now.UnixNano()), own: own, dst: dst, spool: &spool{}}
	if _, err := c.makeDest(op.Path, dirMode); err != nil {
		return nil, err
	}
	return c.result()
}
