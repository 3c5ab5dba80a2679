package sys

import (
	"bytes"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// Dirent is a name in a directory. Type is one of the DT_ constants and may be
// DT_UNKNOWN.
type Dirent struct {
	Name string
	Type uint8
}

// Dirents returns the names in a directory that has just been opened, with their
// types and in no order: getdents64(2). buf is what is read into, and should
// have some ten thousand bytes.
func (d Dir) Dirents(buf []byte) ([]Dirent, error) {
	var list []Dirent
	for {
		n := 0
		err := retry(func() (err error) {
			n, err = unix.Getdents(d.fd, buf)
			return err
		})
		if err != nil {
			return nil, &os.PathError{Op: "getdents64", Path: d.path, Err: err}
		}
		if n == 0 {
			return list, nil
		}
		list = appendDirents(list, buf[:n])
	}
}

// appendDirents decodes struct linux_dirent64: inode and offset of eight bytes,
// the record's length of two, the type of one, the name up to a zero.
func appendDirents(list []Dirent, buf []byte) []Dirent {
	const lengthAt, typeAt, nameAt = 16, 18, 19
	for len(buf) > nameAt {
		length := int(binary.NativeEndian.Uint16(buf[lengthAt:]))
		if length <= nameAt || length > len(buf) {
			return list
		}
		name, _, _ := bytes.Cut(buf[nameAt:length], []byte{0})
		if s := string(name); s != "." && s != ".." {
			list = append(list, Dirent{Name: s, Type: buf[typeAt]})
		}
		buf = buf[length:]
	}
	return list
}

// OpenFileBelow opens a path relative to d for reading without waiting for a peer,
// where no link is on the way or at its end: openat2(2). The caller closes the
// descriptor, which may be one of anything but a socket.
func (d Dir) OpenFileBelow(path string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Openat2(d.fd, path, &how)
		return err
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: d.Path(path), Err: err}
	}
	return fd, nil
}
