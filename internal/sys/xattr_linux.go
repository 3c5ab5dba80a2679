package sys

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Xattrs returns the names of the extended attributes of path, no link
// followed: llistxattr(2). A file system that has none is not an error.
func Xattrs(path string) ([]string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Llistxattr(path, buf)
		switch err {
		case nil:
			return splitNames(buf[:n]), nil
		case unix.EINTR:
		case unix.ERANGE:
			buf = make([]byte, 4*len(buf))
		case unix.ENOTSUP:
			return nil, nil
		default:
			return nil, &os.PathError{Op: "llistxattr", Path: path, Err: err}
		}
	}
}

func splitNames(list []byte) []string {
	if len(list) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
}

// Xattr returns an extended attribute of path, no link followed: lgetxattr(2).
// ok is false where there is no such attribute, or no attributes at all.
func Xattr(path, name string) (value []byte, ok bool, err error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Lgetxattr(path, name, buf)
		switch err {
		case nil:
			return buf[:n], true, nil
		case unix.EINTR:
		case unix.ERANGE:
			buf = make([]byte, 4*len(buf))
		case unix.ENODATA, unix.ENOTSUP:
			return nil, false, nil
		default:
			return nil, false, &os.PathError{Op: "lgetxattr " + name, Path: path, Err: err}
		}
	}
}

// SetXattr sets an extended attribute of path, no link followed: lsetxattr(2).
func SetXattr(path, name string, value []byte) error {
	if err := retry(func() error { return unix.Lsetxattr(path, name, value, 0) }); err != nil {
		return &os.PathError{Op: "lsetxattr " + name, Path: path, Err: err}
	}
	return nil
}

// Xattr returns an extended attribute of name in d, no link followed; "" is d
// itself.
func (d Dir) Xattr(name, attr string) (value []byte, ok bool, err error) {
	value, ok, err = Xattr(d.magic(name), attr)
	return value, ok, d.named(name, err)
}

// named puts the path of name in d into an error from a call that was given a
// path below /proc.
func (d Dir) named(name string, err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return &os.PathError{Op: pe.Op, Path: d.Path(name), Err: pe.Err}
	}
	return err
}

// RemoveXattr removes an extended attribute of path, no link followed:
// lremovexattr(2).
func RemoveXattr(path, name string) error {
	if err := retry(func() error { return unix.Lremovexattr(path, name) }); err != nil {
		return &os.PathError{Op: "lremovexattr " + name, Path: path, Err: err}
	}
	return nil
}
