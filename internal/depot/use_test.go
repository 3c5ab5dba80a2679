package depot

import (
	"crypto/sha256"
	"os"
	"sync"
	"testing"
	"time"

	"builder/image"
)

// A layer that one process has noted as used is never removed by another one beside it, and one that was
// removed is nobody's.
func TestWhatIsUsedIsNotRemoved(t *testing.T) {
	dir, trash := t.TempDir(), t.TempDir()
	old := time.Now().Add(-time.Hour)
	for round := range 300 {
		c := image.ContentDigest(sha256.Sum256([]byte{byte(round), byte(round >> 8)}))
		user, err := Open(Options{Dir: dir, Temp: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		pruner, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := user.register(c, nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(user.path(c, "meta"), old, old); err != nil {
			t.Fatal(err)
		}
		var used, removed bool
		var useErr, removeErr error
		var both sync.WaitGroup
		both.Go(func() { used, useErr = user.Use(c) })
		both.Go(func() {
			throw := func(path string) error { return os.Rename(path, trash+"/"+c.String()) }
			removed, removeErr = pruner.RemoveUnused(t.Context(), throw, time.Now().Add(-2*Fresh), Listed{Content: c}, func() error { return nil })
		})
		both.Wait()
		if useErr != nil || removeErr != nil {
			t.Fatal(useErr, removeErr)
		}
		if used == removed {
			t.Fatalf("round %d: used is %v, removed is %v", round, used, removed)
		}
		if again, err := user.Use(c); again != used || err != nil {
			t.Fatalf("round %d: used is %v, and later %v (%v)", round, used, again, err)
		}
	}
}
