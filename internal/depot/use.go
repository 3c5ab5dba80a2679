package depot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"builder/image"
	"builder/internal/sys"
)

// Fresh is for how long a use of a layer that was noted stands for those after it.
const Fresh = time.Minute

// removingName is the file whose lock is held while a layer is noted as used, shared,
// and while one is removed beside other processes, alone.
const removingName = "removing"

// Use notes that this process relies on a layer from now on, and reports whether it is here. One that was
// used stays, whoever prunes beside this process ([Depot.RemoveUnused]).
func (d *Depot) Use(c image.ContentDigest) (here bool, err error) {
	path := d.path(c, "meta")
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("use layer %s: %w", c, err)
	}
	now := time.Now()
	if now.Sub(st.ModTime()) < Fresh {
		return true, nil
	}
	unlock, err := d.lockRemoving(sys.LockShared)
	if err == nil {
		err = errors.Join(os.Chtimes(path, now, now), unlock())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // it went at that moment
	}
	if err != nil {
		return false, fmt.Errorf("use layer %s: %w", c, err)
	}
	return true, nil
}

// RemoveUnused is [Depot.Remove] for a layer that nobody has used since a time, while others are
// at work: they have begun after it, by more than [Fresh]. tars removes what else
// is known of the layer, and is called before anybody can find it again. removed
// is false where somebody has used it.
func (d *Depot) RemoveUnused(ctx context.Context, trash func(path string) error, since time.Time, l Listed, tars func() error) (removed bool, err error) {
	unlock, err := d.lockRemoving(sys.Lock)
	if err != nil {
		return false, fmt.Errorf("remove layer %s: %w", l.Content, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	st, err := os.Stat(d.path(l.Content, "meta"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // somebody else has removed it
	}
	if err != nil || !st.ModTime().Before(since) {
		return false, err
	}
	return true, errors.Join(d.Remove(ctx, trash, l), tars())
}

// lockRemoving takes the lock on removing.
func (d *Depot) lockRemoving(lock func(*os.File) error) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(d.dir, removingName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
