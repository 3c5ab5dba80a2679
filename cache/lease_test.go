package cache

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"
)

// newLease takes a lease as another process would, on a Cache of its own.
func newLease(t *testing.T, c *Cache) *Lease {
	t.Helper()
	other, err := Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := other.Lease()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func sweep(t *testing.T, c *Cache) {
	t.Helper()
	if err := c.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func end(t *testing.T, l *Lease) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// write makes a file for a test to lose.
func write(t *testing.T, dir, name string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// count returns how many files of a name are anywhere in the cache.
func count(t *testing.T, c *Cache) (files int) {
	t.Helper()
	err := filepath.WalkDir(c.dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != lockName && d.Name() != waitsName {
			files++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTrashWaitsForOlderLeases(t *testing.T) {
	c := newCache(t)
	reader, remover := newLease(t, c), newLease(t, c)
	path := write(t, c.dir, "layer")
	if err := remover.Trash(path); err != nil {
		t.Fatal(err)
	}
	if err := remover.Trash(path); err != nil {
		t.Errorf("what is not there: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("still in its place")
	}
	sweep(t, c)
	end(t, remover)
	later := newLease(t, c)
	sweep(t, c)
	if count(t, c) != 1 {
		t.Error("deleted while an older lease is held")
	}
	end(t, reader)
	sweep(t, c)
	if count(t, c) != 0 {
		t.Error("not deleted, although every older lease is gone")
	}
	end(t, later)
}

func TestTemporaryFilesGoWithTheLease(t *testing.T) {
	c := newCache(t)
	l := newLease(t, c)
	write(t, l.Dir(), "half")
	sweep(t, c)
	if count(t, c) != 1 {
		t.Fatal("deleted while the lease is held")
	}
	end(t, l)
	sweep(t, c)
	if count(t, c) != 0 {
		t.Error("left behind")
	}
	if left, err := os.ReadDir(filepath.Join(c.dir, "leases")); err != nil || len(left) != 0 {
		t.Errorf("leases left: %v, %v", left, err)
	}
}

func TestEmptyLeaseLeavesNothing(t *testing.T) {
	c := newCache(t)
	end(t, newLease(t, c))
	for _, dir := range []string{"leases", "trash"} {
		if left, err := os.ReadDir(filepath.Join(c.dir, dir)); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", dir, left, err)
		}
	}
}

func TestSweepBuriesTheDead(t *testing.T) {
	c := newCache(t)
	cmd := process(c, "hold")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	sweep(t, c)
	if count(t, c) != 2 { // its file and the lock of a key
		t.Errorf("%d files while it lives, want 2", count(t, c))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var status *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &status) {
		t.Fatal(err)
	}
	sweep(t, c)
	if count(t, c) != 1 { // the lock of a key, which is young
		t.Errorf("%d files left", count(t, c))
	}
}

func TestSweepOfADirectoryThatIsNotYetALease(t *testing.T) {
	c := newCache(t)
	if err := os.Mkdir(c.leasePath("HALF"), 0o755); err != nil {
		t.Fatal(err)
	}
	sweep(t, c)
	if _, err := os.Lstat(c.leasePath("HALF")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// A sweep that meets a lease at its beginning or its end is in nobody's way.
func TestLeasesComeAndGoWhileOthersSweep(t *testing.T) {
	c := newCache(t)
	var busy errgroup.Group
	for range 4 {
		busy.Go(func() error {
			for range 300 {
				l, err := c.Lease()
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(l.Dir(), "file"), nil, 0o600); err != nil {
					return err
				}
				if err := l.Close(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	done := make(chan struct{})
	var sweeps errgroup.Group
	for range 3 {
		sweeps.Go(func() error {
			for {
				if err := c.Sweep(t.Context()); err != nil {
					return err
				}
				select {
				case <-done:
					return nil
				default:
				}
			}
		})
	}
	if err := busy.Wait(); err != nil {
		t.Error(err)
	}
	close(done)
	if err := sweeps.Wait(); err != nil {
		t.Error(err)
	}
	sweep(t, c)
	sweep(t, c)
	if n := count(t, c); n != 0 {
		t.Errorf("%d files are left", n)
	}
}
