package sys

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BootID returns what the kernel drew at random when it started: random(4),
// /proc/sys/kernel/random/boot_id.
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

// SinceBoot returns the time since the kernel started, sleep included:
// clock_gettime(2), CLOCK_BOOTTIME. Nobody can set this clock.
func SinceBoot() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(ts.Nano()), nil
}

// FileSystemID names the file system of path for as long as it is mounted: the
// device number and statfs(2)'s f_fsid. Every mount namespace sees the same
// name, which is not so for the ids of mounts.
func FileSystemID(path string) (string, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(path, &st) }); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	var fs unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(path, &fs) }); err != nil {
		return "", &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return fmt.Sprintf("%x:%x:%08x%08x", st.Dev, uint64(fs.Type), uint32(fs.Fsid.Val[0]), uint32(fs.Fsid.Val[1])), nil
}

// SyncFS writes what is pending of the file system that f is on to its device:
// syncfs(2).
func SyncFS(f *os.File) error {
	if err := retry(func() error { return unix.Syncfs(int(f.Fd())) }); err != nil {
		return &os.PathError{Op: "syncfs", Path: f.Name(), Err: err}
	}
	return nil
}
