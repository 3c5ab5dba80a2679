package layer

// View is the metadata of a tree. It can be used by many goroutines.
type View interface {
	// Lookup returns what stands at path, which is clean and relative; no symbolic
	// link is followed. The root, "", is always there. A Hardlink has the metadata
	// of its first name. Neither Whiteout nor Opaque is ever set.
	Lookup(path string) (Entry, bool)
	// ReadDir returns what is in the directory at path, by name, and nothing where
	// there is no directory.
	ReadDir(path string) []Entry
}

// Stack is the tree that layers make of one another. It looks into each of them
// and keeps no merged copy.
type Stack struct{ layers []*Index }

var _ View = (*Stack)(nil)

// NewStack returns the tree of the layers, the lowest first.
func NewStack(lowestFirst ...*Index) *Stack { panic("not yet") }

// Len returns the number of layers.
func (s *Stack) Len() int { return len(s.layers) }

// Lookup implements [View].
func (s *Stack) Lookup(path string) (Entry, bool) { panic("not yet") }

// ReadDir implements [View].
func (s *Stack) ReadDir(path string) []Entry { panic("not yet") }

// Layer returns the number, from 0 for the lowest, of the layer in whose
// directory or tar the file at path stands.
func (s *Stack) Layer(path string) (i int, ok bool) { panic("not yet") }
