package sys

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Dir is an open directory, below which everything is reached by descriptor and
// by single names, so that no link in it leads anywhere else.
type Dir struct {
	fd   int
	path string
}

// OpenDir opens a directory by its path; a link at its end is not followed.
func OpenDir(path string) (Dir, error) { return openDirAt(unix.AT_FDCWD, path, path) }

// OpenDir opens the directory called name in d.
func (d Dir) OpenDir(name string) (Dir, error) { return openDirAt(d.fd, name, d.Path(name)) }

// OpenBelow opens a directory by a path relative to d. No link on the way is
// followed, and nothing leads out of d: openat2(2).
func (d Dir) OpenBelow(path string) (Dir, error) {
	if path == "" {
		path = "."
	}
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Openat2(d.fd, path, &how)
		return err
	})
	if err != nil {
		return Dir{}, &os.PathError{Op: "open directory", Path: d.Path(path), Err: err}
	}
	return Dir{fd, d.Path(path)}, nil
}

func openDirAt(at int, name, path string) (Dir, error) {
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return Dir{}, &os.PathError{Op: "open directory", Path: path, Err: err}
	}
	return Dir{fd, path}, nil
}

// Close closes the directory.
func (d Dir) Close() error {
	if err := unix.Close(d.fd); err != nil {
		return &os.PathError{Op: "close", Path: d.path, Err: err}
	}
	return nil
}

// Path returns the path of name in d, for messages.
func (d Dir) Path(name string) string { return filepath.Join(d.path, name) }

// magic returns a path of name in d for calls that have no form with a
// descriptor.
func (d Dir) magic(name string) string {
	return "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + name
}

// Names returns the names in the directory, in the order of their bytes:
// getdents64(2).
func (d Dir) Names() ([]string, error) {
	if _, err := unix.Seek(d.fd, 0, 0); err != nil {
		return nil, &os.PathError{Op: "seek", Path: d.path, Err: err}
	}
	var names []string
	buf := make([]byte, 32<<10)
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
			slices.Sort(names)
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// Lstat describes name in d; "" is d itself: fstatat(2).
func (d Dir) Lstat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retry(func() error {
		return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
	})
	if err != nil {
		return st, &os.PathError{Op: "lstat", Path: d.Path(name), Err: err}
	}
	return st, nil
}

// Readlink returns where the link called name points: readlinkat(2).
func (d Dir) Readlink(name string) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n := 0
		err := retry(func() (err error) {
			n, err = unix.Readlinkat(d.fd, name, buf)
			return err
		})
		if err != nil {
			return "", &os.PathError{Op: "readlink", Path: d.Path(name), Err: err}
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// Mkdir makes a directory, open to its owner only.
func (d Dir) Mkdir(name string) error {
	if err := retry(func() error { return unix.Mkdirat(d.fd, name, 0o700) }); err != nil {
		return &os.PathError{Op: "mkdir", Path: d.Path(name), Err: err}
	}
	return nil
}

// Whiteout makes the character device 0:0 by which overlayfs marks a removed
// path: mknod(2). Linux 5.8 lets user namespaces make this one.
func (d Dir) Whiteout(name string) error {
	if err := retry(func() error { return unix.Mknodat(d.fd, name, unix.S_IFCHR, 0) }); err != nil {
		return &os.PathError{Op: "mknod", Path: d.Path(name), Err: err}
	}
	return nil
}

// Link gives the file called from in d the further name to in the directory at.
func (d Dir) Link(from string, at Dir, to string) error {
	if err := retry(func() error { return unix.Linkat(d.fd, from, at.fd, to, 0) }); err != nil {
		return &os.LinkError{Op: "link", Old: d.Path(from), New: at.Path(to), Err: err}
	}
	return nil
}

// RemoveAll removes name and everything below it; one that is not there is fine.
func (d Dir) RemoveAll(name string) error {
	err := retry(func() error { return unix.Unlinkat(d.fd, name, 0) })
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return &os.PathError{Op: "unlink", Path: d.Path(name), Err: err}
	}
	if err := d.emptyAll(name); err != nil {
		return err
	}
	if err := retry(func() error { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) }); err != nil {
		return &os.PathError{Op: "rmdir", Path: d.Path(name), Err: err}
	}
	return nil
}

func (d Dir) emptyAll(name string) error {
	sub, err := d.OpenDir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return sub.Empty()
}

// Empty removes everything in d.
func (d Dir) Empty() error {
	names, err := d.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := d.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}
