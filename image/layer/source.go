package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrChanged is returned where a file's bytes are not those that its entry
// describes.
var ErrChanged = errors.New("file has changed")

// Source gives the bytes of a layer's files. Files are asked for in the order of
// the index, one at a time, each at most once; a file that is empty may not be
// asked for.
type Source interface {
	Open(ctx context.Context, e Entry) (io.ReadCloser, error)
}

// NewTarSource returns the files of a tar in normal form, which is read from r
// as far as is asked for.
func NewTarSource(r io.Reader) Source { return &tarSource{tar.NewReader(r)} }

type tarSource struct{ r *tar.Reader }

// Open implements [Source].
func (s *tarSource) Open(ctx context.Context, e Entry) (io.ReadCloser, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		h, err := next(s.r)
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s is not in the tar, or not in its place: %w", e.Path, ErrChanged)
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg && h.Name == e.Path {
			return io.NopCloser(s.r), nil
		}
	}
}

// next returns the next header of a tar. What a name may lead to is for the
// caller to see to.
func next(r *tar.Reader) (*tar.Header, error) {
	h, err := r.Next()
	if errors.Is(err, tar.ErrInsecurePath) {
		err = nil
	}
	return h, err
}
