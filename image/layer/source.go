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

// Source gives the bytes of a layer's files. Each is asked for at most once, and
// one that is empty perhaps never. Several goroutines open and read files at the
// same time, about in the order of the index, unless the source is [Sequential].
type Source interface {
	Open(ctx context.Context, e Entry) (io.ReadCloser, error)
}

// Sequential is a source that gives files in the order of the index only, one at
// a time.
type Sequential interface {
	Source
	Sequential()
}

// NewTarSource returns the files of a tar in normal form, which is read from r
// as far as is asked for.
func NewTarSource(r io.Reader) Source { return &tarSource{tar.NewReader(r)} }

type tarSource struct{ r *tar.Reader }

var _ Sequential = (*tarSource)(nil)

// Sequential implements [Sequential].
func (*tarSource) Sequential() {}

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
