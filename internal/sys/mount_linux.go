package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// CloneMount makes a second view of what stands at path, mounted nowhere:
// open_tree(2), Linux 5.2. It is gone when the descriptor is closed, unless it was attached.
func CloneMount(path string) (*os.File, error) {
	return cloneMount(unix.AT_FDCWD, path, 0)
}

// CloneFile is [CloneMount] for what f is, with all that is mounted below it.
func CloneFile(f *os.File) (*os.File, error) {
	m, err := cloneMount(int(f.Fd()), "", unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return m, nil
}

// CloneMountTree is [CloneMount] with all that is mounted below path.
func CloneMountTree(path string) (*os.File, error) {
	return cloneMount(unix.AT_FDCWD, path, unix.AT_RECURSIVE)
}

func cloneMount(dir int, path string, flags uint) (*os.File, error) {
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.OpenTree(dir, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// SetMount adds MOUNT_ATTR_ flags to a mount, and to all below it if tree is
// set: mount_setattr(2), Linux 5.12.
func SetMount(mount *os.File, attrs uint64, tree bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if tree {
		flags |= unix.AT_RECURSIVE
	}
	err := unix.MountSetattr(int(mount.Fd()), "", flags, &unix.MountAttr{Attr_set: attrs})
	if err != nil {
		return &os.PathError{Op: "mount_setattr", Path: mount.Name(), Err: err}
	}
	return nil
}

// Option is a setting of a file system being mounted.
type Option struct{ Name, Value string }

// OpenFS makes a new file system of the given type that is mounted nowhere:
// fsopen(2), fsmount(2), Linux 5.2. An option without a value is a flag. attrs are
// MOUNT_ATTR_ flags.
func OpenFS(fstype string, attrs int, options ...Option) (*os.File, error) {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen "+fstype, err)
	}
	defer unix.Close(fd)
	for _, o := range options {
		if o.Value == "" {
			err = unix.FsconfigSetFlag(fd, o.Name)
		} else {
			err = unix.FsconfigSetString(fd, o.Name, o.Value)
		}
		if err != nil {
			return nil, os.NewSyscallError("fsconfig "+fstype+" "+o.Name, err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, os.NewSyscallError("fsconfig "+fstype, err)
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return nil, os.NewSyscallError("fsmount "+fstype, err)
	}
	return os.NewFile(uintptr(mount), fstype), nil
}

// Chmod sets the permission bits of name in dir, which must not be a link:
// fchmodat(2).
func Chmod(dir *os.File, name string, mode uint32) error {
	if err := retry(func() error { return unix.Fchmodat(int(dir.Fd()), name, mode, 0) }); err != nil {
		return &os.PathError{Op: "chmod", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// SetTimes sets the times of an open directory: utimensat(2).
func SetTimes(f *os.File, atime, mtime unix.Timespec) error {
	ts := []unix.Timespec{atime, mtime}
	if err := retry(func() error { return unix.UtimesNanoAt(int(f.Fd()), ".", ts, 0) }); err != nil {
		return &os.PathError{Op: "set times", Path: f.Name(), Err: err}
	}
	return nil
}
