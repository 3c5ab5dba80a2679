package layer

import (
	"context"
	"io"
)

// WriteTar writes the layer as a tar in normal form. stamps[0] is the time, in
// seconds since 1970, that every entry gets, stamps[k] that of the layer k places
// below, as far as [Entry.Pyc] needs them. Files are verified as they are copied:
// one that is not as ix says fails with [ErrChanged].
func WriteTar(ctx context.Context, w io.Writer, ix *Index, src Source, stamps []int64) error {
	panic("not yet")
}
