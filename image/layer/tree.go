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
