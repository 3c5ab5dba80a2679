package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"builder/image/layer"
	"builder/internal/decompress"
)

// OpenArchive unpacks a context that comes as a tar, compressed or not, into the
// empty directory dir, and opens it. Nothing in the archive is written outside of
// dir. As with BuildKit no ignore file applies, and owners are the archive's. The
// caller removes dir after closing the context.
func OpenArchive(ctx context.Context, dir string, r io.Reader) (*Context, error) {
	if err := unpack(ctx, dir, r); err != nil {
		return nil, fmt.Errorf("build context from an archive: %w", err)
	}
	c, err := OpenContext(ctx, dir, nil, nil)
	if err != nil {
		return nil, err
	}
	c.owners = os.Geteuid() == 0 // else they could not be set
	return c, nil
}

func unpack(ctx context.Context, dir string, r io.Reader) (err error) {
	tar, err := decompress.NewReader(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tar.Close()) }()
	_, err = layer.Apply(ctx, dir, tar, layer.ApplyOptions{Latest: time.Now()})
	return err
}
