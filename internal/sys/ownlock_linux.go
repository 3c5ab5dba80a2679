package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Holding is how a file's own lock is held: that of fcntl(2), F_OFD_SETLK, which
// belongs to one opening of the file and goes with its last descriptor, however
// the process ends. Other than with flock(2), who asks for it disturbs nobody.
type Holding int

// The ways to hold a lock.
const (
	NotHeld Holding = iota
	HeldShared
	HeldAlone
)

// TryHold takes the lock of an open file where it can be had at once.
func TryHold(f *os.File, how Holding) (ok bool, err error) {
	kind := map[Holding]int16{NotHeld: unix.F_UNLCK, HeldShared: unix.F_RDLCK, HeldAlone: unix.F_WRLCK}[how]
	err = retry(func() error {
		return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind})
	})
	switch err {
	case nil:
		return true, nil
	case unix.EAGAIN, unix.EACCES:
		return false, nil
	}
	return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
}

// WhoHolds tells how others hold the lock of an open file.
func WhoHolds(f *os.File) (Holding, error) {
	l := unix.Flock_t{Type: unix.F_WRLCK}
	err := retry(func() error { return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l) })
	switch {
	case err != nil:
		return NotHeld, &os.PathError{Op: "query lock", Path: f.Name(), Err: err}
	case l.Type == unix.F_RDLCK:
		return HeldShared, nil
	case l.Type == unix.F_WRLCK:
		return HeldAlone, nil
	}
	return NotHeld, nil
}
