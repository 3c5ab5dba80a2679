package layer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// DirSource gives the files that stand in a directory under the paths of their
// entries. No symbolic link is followed.
type DirSource struct{ root sys.Dir }

var _ Source = (*DirSource)(nil)

// OpenDir returns the files of the directory dir.
func OpenDir(dir string) (*DirSource, error) {
	root, err := sys.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	return &DirSource{root}, nil
}

// Open implements [Source].
func (s *DirSource) Open(_ context.Context, e Entry) (io.ReadCloser, error) {
	f, err := s.root.OpenFileAt(e.Path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("%s is no regular file: %w", e.Path, ErrChanged)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &regular{f, st.Size}, nil
}

// Close lets go of the directory.
func (s *DirSource) Close() error { return s.root.Close() }

// regular is an open regular file. It ends where it did when it was opened, so
// that nobody has to ask.
type regular struct {
	sys.File
	left int64
}

// Read implements [io.Reader].
func (r *regular) Read(p []byte) (int, error) {
	n, err := r.File.Read(p)
	if r.left -= int64(n); err == nil && r.left <= 0 {
		err = io.EOF
	}
	return n, err
}
