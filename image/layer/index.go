package layer

import (
	"io"

	"builder/image"
)

// Index is what a layer holds, in normal form. It is not changed once it is
// made, and may be used by many goroutines.
type Index struct {
	Entries []Entry
}

// NewIndex returns the index of entries in any order. Paths must be clean and
// different, each in a directory that is among them (but for those in the root),
// and the first name of a hard link the first in order.
func NewIndex(entries []Entry) (*Index, error) { panic("not yet") }

// Find returns the entry at path, be it a Whiteout.
func (x *Index) Find(path string) (Entry, bool) { panic("not yet") }

// Content returns the digest of what the layer holds. Times are left out, and
// whether a directory is there for its own sake.
func (x *Index) Content() image.ContentDigest { panic("not yet") }

// Encode writes the index in the form that [Decode] reads.
func (x *Index) Encode(w io.Writer) error { panic("not yet") }

// Decode reads what [Index.Encode] wrote. Whatever data is, it neither panics
// nor returns an index that is not in normal form.
func Decode(data []byte) (*Index, error) { panic("not yet") }
