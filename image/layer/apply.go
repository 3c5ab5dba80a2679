package layer

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrEscape is returned for a tar that names something outside its root.
var ErrEscape = errors.New("path leads outside the root")

// ErrLimit is returned for a tar that is larger, or has more entries, than was
// allowed.
var ErrLimit = errors.New("layer is too large")

// Whiteouts says how a removed path is written into a directory.
type Whiteouts int

// The ways to write what was removed.
const (
	// WhiteoutsApplied: the directory is the whole tree; what is removed is removed.
	WhiteoutsApplied Whiteouts = iota
	// WhiteoutsTrusted: a character device 0:0, and trusted.overlay.opaque=y on an
	// opaque directory.
	WhiteoutsTrusted
	// WhiteoutsUser: the same with user.overlay.opaque.
	WhiteoutsUser
)

// ApplyOptions say how a tar is read.
type ApplyOptions struct {
	// Whiteouts says how removals are written.
	Whiteouts Whiteouts
	// Latest is the greatest mtime that an entry may get; without it there is none.
	Latest time.Time
	// Below is the tree below the layer. It gives directories that the tar does not
	// list their metadata, and says where a symbolic link leads that a name passes
	// through. Without it the layer is read as the lowest one.
	Below View
	// Open opens a file of the tree below. It is needed for a hard link to a file
	// of a lower layer.
	Open func(ctx context.Context, path string) (io.ReadCloser, error)
	// Limit is how many bytes the tar may have; 0 means no limit.
	Limit int64
	// MaxEntries is how many entries the tar may have; 0 means two million.
	MaxEntries int
}
