package snapshot

import "context"

// Stager is a [Snapshotter] that can write a layer's files before the tree below
// is here: they do not depend on it.
type Stager interface {
	// Stage has fill write a layer's files into dir, marking removals as whiteouts
	// says. An error of fill undoes everything.
	Stage(ctx context.Context, fill func(dir string, whiteouts Whiteouts) error) (Staged, error)
}

// Staged is files that are no tree yet. It ends with Adopt or Discard.
type Staged interface {
	// Adopt makes them the own layer of the tree id on top of parent. Where id is
	// already here they are discarded and that tree is returned. After an error
	// nothing is left of them.
	Adopt(ctx context.Context, parent, id ID) (Tree, error)
	Discard() error
}
