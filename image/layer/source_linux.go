package layer

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// DirSource gives the files that stand in a directory under the paths of their
// entries. No symbolic link is followed.
type DirSource struct{ at *cursor }

var _ Source = (*DirSource)(nil)

// OpenDir returns the files of the directory dir.
func OpenDir(dir string) (*DirSource, error) {
	at, err := openCursor(dir)
	if err != nil {
		return nil, err
	}
	return &DirSource{at}, nil
}

// Open implements [Source].
func (s *DirSource) Open(_ context.Context, e Entry) (io.ReadCloser, error) {
	parent, name := split(e.Path)
	dir, err := s.at.dir(parent)
	if err != nil {
		return nil, err
	}
	f, err := dir.OpenFile(name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("%s is no regular file: %w", e.Path, ErrChanged)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close lets go of the directory.
func (s *DirSource) Close() error { return s.at.close() }
