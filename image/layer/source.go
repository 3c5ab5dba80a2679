package layer

import (
	"context"
	"errors"
	"io"
)

// ErrChanged is returned where a file's bytes are not those that its entry
// describes.
var ErrChanged = errors.New("file has changed")

// Source gives the bytes of a layer's files. Files are asked for in the order of
// the index, one at a time, each at most once.
type Source interface {
	Open(ctx context.Context, e Entry) (io.ReadCloser, error)
}

// NewTarSource returns the files of a tar in normal form, which is read from r
// as far as is asked for.
func NewTarSource(r io.Reader) Source { panic("not yet") }
