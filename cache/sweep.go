package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Sweep deletes what nobody needs any more: the temporary files of processes
// that died, what was removed while leases were held that are gone now, lock
// files that nobody holds. It waits for nobody, and is fit for the time after
// a command has answered. When ctx ends it stops early.
func (c *Cache) Sweep(ctx context.Context) error {
	err := errors.Join(c.sweepLeases(ctx), c.sweepTrash(ctx), c.sweepLocks(ctx))
	if err != nil {
		return fmt.Errorf("sweep cache: %w", err)
	}
	return nil
}

// each calls f for the names in a directory of the cache until ctx ends. What
// another sweep takes away meanwhile is no error.
func (c *Cache) each(ctx context.Context, dir string, f func(name string) error) error {
	entries, err := os.ReadDir(filepath.Join(c.dir, dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := f(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (c *Cache) sweepLeases(ctx context.Context) error {
	return c.each(ctx, "leases", func(name string) error {
		lock, err := tryLockFile(c.leasePath(name, lockName))
		if lock == nil || err != nil {
			return err
		}
		return errors.Join(c.bury(name), lock.Close())
	})
}

func (c *Cache) sweepTrash(ctx context.Context) error {
	return c.each(ctx, "trash", func(name string) error {
		dir := filepath.Join(c.dir, "trash", name)
		data, err := os.ReadFile(filepath.Join(dir, waitsName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// A list that is torn, or missing as another sweep has begun to delete, was
		// written before leases that are all gone.
		for _, lease := range decodeWaits(data) {
			held, err := c.isHeld(lease)
			if held || err != nil {
				return err
			}
		}
		return os.RemoveAll(dir)
	})
}

func (c *Cache) sweepLocks(ctx context.Context) error {
	return c.each(ctx, "locks", func(name string) error {
		path := filepath.Join(c.dir, "locks", name)
		// One that is new is in use, and who wants it should not find it locked here.
		st, err := os.Stat(path)
		if err != nil || time.Since(st.ModTime()) < fresh {
			return err
		}
		f, err := tryLockFile(path)
		if f == nil || err != nil {
			return err
		}
		return unlockFile(f)
	})
}

func encodeWaits(leases []string) []byte {
	return []byte("builder waits 1\n" + strings.Join(leases, "\n") + "\n")
}

func decodeWaits(data []byte) []string {
	text, ok := strings.CutPrefix(string(data), "builder waits 1\n")
	if !ok {
		return nil
	}
	var names []string
	for name := range strings.SplitSeq(text, "\n") {
		if name != "" && filepath.IsLocal(name) {
			names = append(names, name)
		}
	}
	return names
}
