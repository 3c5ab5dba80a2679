package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"builder/internal/sys"
)

// Lock waits until nobody else, in this process or another, has the key locked,
// and locks it. waiting is called once, before it waits, if it has to; it may be nil. The
// lock goes with unlock, or with the process. When ctx ends first its cause is the
// error.
func (c *Cache) Lock(ctx context.Context, k Key, waiting func()) (unlock func() error, err error) {
	path := filepath.Join(c.dir, "locks", k.String())
	const shortest, longest = 2 * time.Millisecond, 50 * time.Millisecond
	for pause := shortest; ; pause = min(2*pause, longest) {
		f, err := tryLockFile(path)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", k, err)
		}
		if f != nil {
			return func() error { return unlockFile(f) }, nil
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		// flock(2) cannot be waited for together with ctx.
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", k, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// tryLockFile opens, makes and locks the file at path. f is nil where another
// has it locked. The holder may remove a locked file: so one that is locked here,
// and then is not at path any more, was somebody else's, and does not count.
func tryLockFile(path string) (f *os.File, err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		ok, err := sys.TryLock(f)
		if err == nil && ok {
			ok, err = isAt(f, path)
			if err == nil && ok {
				return f, nil
			}
			if err == nil {
				if err := f.Close(); err != nil {
					return nil, err
				}
				continue
			}
		}
		return nil, errors.Join(err, f.Close())
	}
}

// isAt reports whether the open file is the one at path.
func isAt(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}

// unlockFile removes a locked file, then lets go of it.
func unlockFile(f *os.File) error {
	return errors.Join(os.Remove(f.Name()), f.Close())
}
