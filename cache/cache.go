package cache

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Cache is one directory. All methods may be called from many goroutines, and
// from many processes that have it open.
type Cache struct {
	dir string
	run func() (run, error)

	mu    sync.Mutex
	lease *Lease       // what temporary files live under, once there is one
	marks map[run]mark // of the runs that are over; nil until they are read
}

// Open returns the cache in a directory, which is made where it is not there.
func Open(dir string) (*Cache, error) {
	for _, name := range []string{"records", "files", "locks", "leases", "trash"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
	}
	c := &Cache{dir: dir}
	c.run = sync.OnceValues(func() (run, error) { return thisRun(dir) })
	return c, nil
}

func newName() string { return rand.Text()[:16] }
