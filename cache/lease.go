package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"builder/internal/sys"
)

// Lease is a process's presence: while it is held nothing is deleted that the
// process may have found. It is the directory leases/<name> with a locked file,
// the temporary files, and what the process removed.
type Lease struct {
	c    *Cache
	name string
	lock *os.File

	mu    sync.Mutex
	trash bool // whether the directory for removed files is made
}

const (
	lockName  = "lock"
	tempName  = "temp"
	trashName = "trash"
	// filesName is the directory in a trash that holds what was removed.
	filesName = "files"
	// waitsName is the file in a trash that names the leases it waits for.
	waitsName = "waits"
)

func (c *Cache) leasePath(name string, more ...string) string {
	return filepath.Join(append([]string{c.dir, "leases", name}, more...)...)
}

// Lease takes a lease. It ends with Close, or with the process.
func (c *Cache) Lease() (*Lease, error) {
	for {
		l, err := c.tryLease(newName())
		if err != nil {
			return nil, fmt.Errorf("take lease: %w", err)
		}
		if l == nil {
			continue // somebody took the directory for that of a dead process
		}
		c.mu.Lock()
		if c.lease == nil {
			c.lease = l
		}
		c.mu.Unlock()
		return l, nil
	}
}

func (c *Cache) tryLease(name string) (*Lease, error) {
	if err := os.Mkdir(c.leasePath(name), 0o755); err != nil {
		return nil, err
	}
	lock, err := tryLockFile(c.leasePath(name, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if lock == nil || err != nil {
		return nil, err
	}
	// From here on nobody takes it away.
	if err := os.Mkdir(c.leasePath(name, tempName), 0o700); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Lease{c: c, name: name, lock: lock}, nil
}

// anyLease returns the lease of this process, and takes one where it has none.
func (c *Cache) anyLease() (*Lease, error) {
	c.mu.Lock()
	l := c.lease
	c.mu.Unlock()
	if l != nil {
		return l, nil
	}
	return c.Lease()
}

// Dir returns the directory for temporary files.
func (l *Lease) Dir() string { return l.c.leasePath(l.name, tempName) }

// TrashDir returns the directory into which removed files are renamed. They are
// deleted by a [Cache.Sweep] when this lease and all that were held with it
// are gone.
func (l *Lease) TrashDir() (string, error) {
	dir := l.c.leasePath(l.name, trashName, filesName)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.trash {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("make trash: %w", err)
		}
		l.trash = true
	}
	return dir, nil
}

// Trash renames a file or directory into the trash. One that is not there is
// fine.
func (l *Lease) Trash(path string) error {
	dir, err := l.TrashDir()
	if err != nil {
		return err
	}
	if err := sys.RenameNoReplace(path, filepath.Join(dir, newName())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Close ends the lease. What is left in its directory for temporary files goes
// to the trash.
func (l *Lease) Close() error {
	l.c.mu.Lock()
	if l.c.lease == l {
		l.c.lease = nil
	}
	l.c.mu.Unlock()
	err := l.c.bury(l.name)
	if err = errors.Join(err, l.lock.Close()); err != nil {
		return fmt.Errorf("end lease: %w", err)
	}
	return nil
}

// bury takes away the directory of a lease whose lock the caller holds: what is
// in it goes to the trash, to wait for those who hold leases now.
func (c *Cache) bury(name string) error {
	if err := c.throwTempAway(name); err != nil {
		return err
	}
	trash := c.leasePath(name, trashName)
	_, err := os.Lstat(trash)
	if err == nil {
		err = c.seal(name, trash)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(c.leasePath(name, lockName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = os.Remove(c.leasePath(name))
	// Without a lock the directory looks like that of a dead process to a sweep,
	// which locks it anew and takes it away.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) {
		return nil
	}
	return err
}

// throwTempAway removes the directory of temporary files, or moves it to the
// trash if there are any: deleting may take long.
func (c *Cache) throwTempAway(name string) error {
	temp := c.leasePath(name, tempName)
	err := os.Remove(temp)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	files := c.leasePath(name, trashName, filesName)
	if err := os.MkdirAll(files, 0o700); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(files, newName()))
}

// seal notes in a trash which leases are held, and puts it where it is deleted
// when they are gone. Nothing is added to it any more.
func (c *Cache) seal(name, trash string) error {
	held, err := c.held(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(trash, waitsName), encodeWaits(held), 0o600); err != nil {
		return err
	}
	return os.Rename(trash, filepath.Join(c.dir, "trash", newName()))
}

// held returns the names of the leases that are held, but for one.
func (c *Cache) held(except string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(c.dir, "leases"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Name() == except {
			continue
		}
		held, err := c.isHeld(e.Name())
		if err != nil {
			return nil, err
		}
		if held {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Oldest returns when the oldest lease was taken that another process holds. ok is false
// where there is none.
func (c *Cache) Oldest() (taken time.Time, ok bool, err error) {
	c.mu.Lock()
	own := ""
	if c.lease != nil {
		own = c.lease.name
	}
	c.mu.Unlock()
	names, err := c.held(own)
	if err != nil {
		return taken, false, fmt.Errorf("leases: %w", err)
	}
	for _, name := range names {
		st, err := os.Stat(c.leasePath(name, lockName))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return taken, false, fmt.Errorf("leases: %w", err)
		}
		if !ok || st.ModTime().Before(taken) {
			taken, ok = st.ModTime(), true
		}
	}
	return taken, ok, nil
}

// isHeld reports whether somebody holds a lease. One that is just being taken
// may count as not held: its process has found nothing yet.
func (c *Cache) isHeld(name string) (held bool, err error) {
	f, err := os.Open(c.leasePath(name, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ok, err := sys.TryLockShared(f)
	return !ok, errors.Join(err, f.Close())
}
