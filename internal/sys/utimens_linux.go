package sys

import (
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
