package layer

// Kind is what happened to a path.
type Kind int

// The kinds of change.
const (
	Modify Kind = iota // exists now: added, modified, or only copied up
	Delete             // existed below, does not now
	Opaque             // a directory that now hides all that was below in it
)

// Change is one path at which a directory may differ from the tree below it;
// "" is the root.
type Change struct {
	Path string
	Kind Kind
}

// ScanOptions say how a directory is read.
type ScanOptions struct {
	// Foreign is how many of the lowest layers below were made elsewhere. Compiled
	// Python files keep their time where their source lies in one of these. It counts
	// only where the tree below is a [Stack].
	Foreign int
	// Mtime returns the mtime, in nanoseconds, of the file that stands for an entry
	// of the tree below. Without it that is the entry's own.
	Mtime func(Entry) (int64, error)
}
