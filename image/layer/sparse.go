package layer

import (
	"archive/tar"
	"fmt"
	"strings"
)

// maxSparse bounds the sparse files of a tar: a few bytes may say that they are
// as large as they like, and what they leave out has to be read and written.
const maxSparse = 16 << 30

// Sparse adds up the sizes of the sparse files of one tar.
type Sparse int64

// Add counts a header. It fails with [ErrLimit] where the sparse files are larger,
// holes included, than any that mean well.
func (s *Sparse) Add(h *tar.Header) error {
	if !isSparse(h) {
		return nil
	}
	if h.Size > maxSparse-int64(*s) {
		return fmt.Errorf("%.512q: sparse files of more than %d bytes: %w", h.Name, int64(maxSparse), ErrLimit)
	}
	*s += Sparse(h.Size)
	return nil
}

// isSparse reports whether a file may be larger than what the tar has of it.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}
