package layer

import (
	"context"
	"io"
	"time"
)

// TreeOptions say how a directory is written.
type TreeOptions struct {
	// Whiteouts says how removals are written.
	Whiteouts Whiteouts
	// Time is the mtime that everything gets. Without it entries have their own.
	Time time.Time
	// Below and Open are as in [ApplyOptions].
	Below View
	Open  func(ctx context.Context, path string) (io.ReadCloser, error)
}

// WriteTree writes the layer into the directory dir. Files are verified as they
// are copied: one that is not as ix says fails with [ErrChanged]. A compiled
// Python file whose source is in the same layer gets the source's mtime in its
// header. A failed WriteTree leaves dir unusable.
func WriteTree(ctx context.Context, dir string, ix *Index, src Source, o TreeOptions) error {
	panic("not yet")
}
