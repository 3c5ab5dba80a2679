package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// Listed is a record with its key and when it was used last, give or take an
// hour.
type Listed struct {
	Key  Key
	Used time.Time
	Record
}

// List returns all records, in the order of their keys. Torn ones are left out.
func (c *Cache) List(ctx context.Context) ([]Listed, error) {
	var all []Listed
	err := filepath.WalkDir(filepath.Join(c.dir, "records"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		data, used, err := readFile(path, maxRecord)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		r, _, err := decodeRecord(data)
		if err != nil {
			return nil // [Cache.Get] removes it
		}
		all = append(all, Listed{Key: r.Parts.Key(), Used: used, Record: r})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	return all, nil
}
