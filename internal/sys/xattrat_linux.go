package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// XattrNames returns the names of the extended attributes of name in d, no link
// followed: listxattrat(2), Linux 6.13, else llistxattr(2). A file system that
// has none is not an error.
func (d Dir) XattrNames(name string) ([]string, error) {
	var buf [512]byte
	n, err := d.listxattrat(name, buf[:])
	switch err {
	case 0:
		return splitNames(buf[:n]), nil
	case unix.ENOTSUP:
		return nil, nil
	case unix.ENOSYS, unix.EPERM, unix.ERANGE, unix.EINTR:
		// Some seccomp filters answer EPERM to what they do not know.
		names, err := Xattrs(d.magic(name))
		return names, d.named(name, err)
	}
	return nil, &os.PathError{Op: "listxattrat", Path: d.Path(name), Err: err}
}

func (d Dir) listxattrat(name string, buf []byte) (int, unix.Errno) {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, unix.EINVAL
	}
	n, _, errno := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(d.fd), uintptr(unsafe.Pointer(p)), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0)
	return int(n), errno
}
