package fileop

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
)

// spool holds the contents of files from an archive one after the other, in a
// file without a name.
type spool struct {
	dir  string
	file *os.File
	size int64
}

// add appends what is left of r and returns where it is and its digest.
func (s *spool) add(r io.Reader) (fromSpool, [sha256.Size]byte, error) {
	var digest [sha256.Size]byte
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "archive-")
		if err != nil {
			return fromSpool{}, digest, err
		}
		if err := os.Remove(f.Name()); err != nil {
			return fromSpool{}, digest, errors.Join(err, f.Close())
		}
		s.file = f
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(s.file, h), r)
	at := fromSpool{offset: s.size, size: n}
	s.size += n
	return at, [sha256.Size]byte(h.Sum(digest[:0])), err
}

func (s *spool) open(at fromSpool) io.ReadCloser {
	return io.NopCloser(io.NewSectionReader(s.file, at.offset, at.size))
}

// Close removes the spool.
func (s *spool) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}
