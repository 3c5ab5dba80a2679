package sys

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// WindowSize returns the size of the terminal f; ok is false if it is none.
func WindowSize(f *os.File) (rows, columns uint16, ok bool) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, false
	}
	return size.Row, size.Col, true
}

// MakeRaw has the terminal f pass on every byte as it comes: termios(3),
// cfmakeraw. What is not a terminal is left alone. restore undoes it.
func MakeRaw(f *os.File) (restore func() error, err error) {
	fd := int(f.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() error { return nil }, nil //nolint:nilerr // no terminal
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, os.NewSyscallError("set terminal", err)
	}
	return func() error { return os.NewSyscallError("set terminal", unix.IoctlSetTermios(fd, unix.TCSETS, old)) }, nil
}

// ParseSignal parses a signal's number, or its name with or without "SIG":
// signal(7), with RTMIN+n and RTMAX-n.
func ParseSignal(s string) (sig syscall.Signal, ok bool) {
	const rtMin, rtMax = 34, 64
	if n, err := strconv.Atoi(s); err == nil {
		return syscall.Signal(n), n > 0 && n <= rtMax
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	base, sign, offset := name, 1, 0
	if i := strings.IndexAny(name, "+-"); i > 0 {
		n, err := strconv.ParseUint(name[i+1:], 10, 8)
		if err != nil {
			return 0, false
		}
		if base, offset = name[:i], int(n); name[i] == '-' {
			sign = -1
		}
	}
	n := 0
	switch base {
	case "RTMIN":
		n = rtMin + sign*offset
	case "RTMAX":
		n = rtMax + sign*offset
	default:
		if base == name {
			n = int(unix.SignalNum("SIG" + name))
		}
		return syscall.Signal(n), n > 0
	}
	return syscall.Signal(n), n >= rtMin && n <= rtMax
}
