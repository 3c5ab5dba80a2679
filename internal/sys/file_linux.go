package sys

import (
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// File is an open file without what makes an [os.File] expensive: no
// finalizer, no poller. Whoever opens it closes it, once.
type File struct {
	fd   int
	dir  Dir
	name string
}

// OpenFile opens the file called name for reading; a link is not followed, and
// a pipe does not block: openat(2).
func (d Dir) OpenFile(name string) (File, error) {
	return d.openFile(name, unix.O_RDONLY|unix.O_NONBLOCK)
}

// CreateFile makes the file called name, which must not exist, open to its owner
// only, and opens it for writing: openat(2), O_EXCL.
func (d Dir) CreateFile(name string) (File, error) {
	return d.openFile(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
}

// OpenFileAt is [Dir.OpenFile] for a path relative to d, where no link is on the way
// either: openat2(2).
func (d Dir) OpenFileAt(path string) (File, error) {
	fd, err := d.OpenFileBelow(path)
	return File{fd, d, path}, err
}

func (d Dir) openFile(name string, flags int) (File, error) {
	for {
		fd, err := unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err == nil {
			return File{fd, d, name}, nil
		}
		if err != unix.EINTR {
			return File{}, &os.PathError{Op: "open", Path: d.Path(name), Err: err}
		}
	}
}

// Close closes the file: close(2).
func (f File) Close() error { return f.named("close", unix.Close(f.fd)) }

// Read implements [io.Reader]: read(2).
func (f File) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(f.fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, f.named("read", err)
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write implements [io.Writer]: write(2).
func (f File) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(f.fd, b[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, f.named("write", err)
		}
		done += n
	}
	return done, nil
}

// Stat describes the file: fstat(2).
func (f File) Stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(f.fd, &st) })
	return st, f.named("fstat", err)
}

// Chown sets the owner: fchown(2). It takes setuid, setgid and capabilities away.
func (f File) Chown(uid, gid int) error {
	return f.named("fchown", retry(func() error { return unix.Fchown(f.fd, uid, gid) }))
}

// Chmod sets the mode: fchmod(2).
func (f File) Chmod(mode uint32) error {
	return f.named("fchmod", retry(func() error { return unix.Fchmod(f.fd, mode) }))
}

// SetTime sets the modification time and leaves the access time alone:
// utimensat(2).
func (f File) SetTime(ns int64) error {
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(ns)}
	return f.named("utimensat", retry(func() error { return utimensFd(f.fd, &times) }))
}

// SetXattr sets an extended attribute: fsetxattr(2).
func (f File) SetXattr(name, value string) error {
	return f.named("fsetxattr "+name, retry(func() error { return unix.Fsetxattr(f.fd, name, []byte(value), 0) }))
}

func (f File) named(op string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: f.dir.Path(f.name), Err: err}
}

// File returns the directory as a file, for its metadata. It is closed with the
// directory, not by itself.
func (d Dir) File() File { return File{d.fd, d, ""} }

// Chown sets the owner of name in d, no link followed: fchownat(2).
func (d Dir) Chown(name string, uid, gid int) error {
	err := retry(func() error { return unix.Fchownat(d.fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return &os.PathError{Op: "fchownat", Path: d.Path(name), Err: err}
	}
	return nil
}

// Symlink makes a symbolic link called name: symlinkat(2).
func (d Dir) Symlink(target, name string) error {
	if err := retry(func() error { return unix.Symlinkat(target, d.fd, name) }); err != nil {
		return &os.LinkError{Op: "symlink", Old: target, New: d.Path(name), Err: err}
	}
	return nil
}

// Mknod makes a device or pipe called name: mknodat(2). mode has the type's bits.
func (d Dir) Mknod(name string, mode, major, minor uint32) error {
	dev := int(unix.Mkdev(major, minor))
	if err := retry(func() error { return unix.Mknodat(d.fd, name, mode, dev) }); err != nil {
		return &os.PathError{Op: "mknod", Path: d.Path(name), Err: err}
	}
	return nil
}

// SetXattr sets an extended attribute of name in d, no link followed.
func (d Dir) SetXattr(name, attr, value string) error {
	return d.named(name, SetXattr(d.magic(name), attr, []byte(value)))
}

// RemoveXattr removes an extended attribute of name in d, no link followed.
func (d Dir) RemoveXattr(name, attr string) error {
	return d.named(name, RemoveXattr(d.magic(name), attr))
}

// InUserNamespace reports whether this process is in a user namespace other
// than the first one: user_namespaces(7), /proc/self/uid_map.
func InUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(text))
	return len(fields) != 3 || fields[0] != "0" || fields[1] != "0" || fields[2] != "4294967295"
}
