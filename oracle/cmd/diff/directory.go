package main

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"builder/oracle/daemon"
)

const prefix = "builder-oracle."

// newDirectory makes a directory for one run below work, and locks it for as
// long as the returned file is open. What killed runs have left there is
// removed: nobody holds its lock.
func newDirectory(work string) (string, *os.File, error) {
	left, err := filepath.Glob(filepath.Join(work, prefix+"*"))
	if err != nil {
		return "", nil, err
	}
	for _, dir := range left {
		if lock, err := lockDirectory(dir); err == nil {
			daemon.RemoveCgroups(filepath.Base(dir))
			_ = os.RemoveAll(dir) // another run may do the same
			_ = lock.Close()
		}
	}
	dir, err := os.MkdirTemp(work, prefix)
	if err != nil {
		return "", nil, err
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return "", nil, err
	}
	return dir, lock, os.Chmod(dir, 0o755)
}

func lockDirectory(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	return f, nil
}
