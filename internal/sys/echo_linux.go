package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// HideInput has the terminal f not show what is typed: termios(3), ECHO. What is
// not a terminal is left alone. restore undoes it.
func HideInput(f *os.File) (restore func() error, err error) {
	fd := int(f.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() error { return nil }, nil //nolint:nilerr // no terminal
	}
	silent := *old
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ECHONL | unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &silent); err != nil {
		return nil, os.NewSyscallError("set terminal", err)
	}
	return func() error { return os.NewSyscallError("set terminal", unix.IoctlSetTermios(fd, unix.TCSETS, old)) }, nil
}
