package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// utimensFd is utimensat(2) on a descriptor: x/sys/unix has only the form with
// a path.
func utimensFd(fd int, times *[2]unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// SetFileTimes sets the times of an open file that is no directory.
func SetFileTimes(f *os.File, atime, mtime unix.Timespec) error {
	if err := utimensFd(int(f.Fd()), &[2]unix.Timespec{atime, mtime}); err != nil {
		return &os.PathError{Op: "set times", Path: f.Name(), Err: err}
	}
	return nil
}
