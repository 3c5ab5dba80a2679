package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Lock takes the exclusive lock of an open file and waits for it: flock(2). It
// goes with the last descriptor of this opening of the file, so that the end of
// the process, however it comes, releases it.
func Lock(f *os.File) error { return flock(f, unix.LOCK_EX) }

// LockShared takes the lock that any number may hold together: flock(2).
func LockShared(f *os.File) error { return flock(f, unix.LOCK_SH) }

// TryLock takes the exclusive lock where nobody holds it: flock(2), LOCK_NB.
func TryLock(f *os.File) (ok bool, err error) { return tryFlock(f, unix.LOCK_EX) }

// TryLockShared is as [TryLock], for the lock that any number may hold together.
func TryLockShared(f *os.File) (ok bool, err error) { return tryFlock(f, unix.LOCK_SH) }

func tryFlock(f *os.File, how int) (ok bool, err error) {
	err = flock(f, how|unix.LOCK_NB)
	if pe, is := err.(*os.PathError); is && pe.Err == unix.EWOULDBLOCK {
		return false, nil
	}
	return err == nil, err
}

// Unlock releases the lock of an open file: flock(2).
func Unlock(f *os.File) error { return flock(f, unix.LOCK_UN) }

func flock(f *os.File, how int) error {
	if err := retry(func() error { return unix.Flock(int(f.Fd()), how) }); err != nil {
		return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return nil
}
