package sys

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Copier copies files with all that they are: type, bytes, mode, owner,
// attributes, times, devices, and which of them are hard links of each other. A
// Copier copies from one tree to one other.
type Copier struct {
	// To is the root of the tree that is copied to.
	To Dir
	// Time gives a copy its modification time, in nanoseconds since 1970, from that of
	// the original; nil keeps it.
	Time func(int64) int64
	// Xattr reports whether an attribute is copied; nil copies all. The host's
	// security.selinux is never copied.
	Xattr func(name string) bool
	// Share makes hard links of the originals instead of copies of files that are no
	// directories, where the file system allows it. It changes no times.
	Share bool

	links map[inode]string
}

type inode struct{ dev, ino uint64 }

// Tree copies everything in from, and from's own metadata, into the directory
// to. path is to's path below c.To.
func (c *Copier) Tree(ctx context.Context, from, to Dir, path string) error {
	if err := c.Children(ctx, from, to, path); err != nil {
		return err
	}
	return c.DirMeta(from, to)
}

// Children copies everything in from into the directory to, whose path below
// c.To is path.
func (c *Copier) Children(ctx context.Context, from, to Dir, path string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	names, err := from.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.Entry(ctx, from, name, to, filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

// Entry copies what is called name in from, with all below it, into the
// directory to, where nothing has that name. path is the copy's path below c.To.
func (c *Copier) Entry(ctx context.Context, from Dir, name string, to Dir, path string) error {
	st, err := from.Lstat(name)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return c.subtree(ctx, from, name, to, path)
	}
	return c.File(from, name, &st, to, path)
}

func (c *Copier) subtree(ctx context.Context, from Dir, name string, to Dir, path string) error {
	src, err := from.OpenDir(name)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := to.Mkdir(name); err != nil {
		return err
	}
	dst, err := to.OpenDir(name)
	if err != nil {
		return err
	}
	defer dst.Close()
	return c.Tree(ctx, src, dst, path)
}

// File copies what is called name in from and is described by st, anything but a
// directory, into the directory to, where nothing has that name. path is the copy's path
// below c.To.
func (c *Copier) File(from Dir, name string, st *unix.Stat_t, to Dir, path string) error {
	if c.Share {
		err := from.Link(name, to, name)
		if !errors.Is(err, unix.EMLINK) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EXDEV) {
			return err
		}
	}
	if st.Nlink > 1 {
		if first, ok := c.links[inode{uint64(st.Dev), st.Ino}]; ok {
			return c.To.Link(first, to, name)
		}
	}
	if err := c.make(from, name, st, to); err != nil {
		return err
	}
	if err := c.meta(from, name, st, to, name); err != nil {
		return err
	}
	if st.Nlink > 1 {
		if c.links == nil {
			c.links = map[inode]string{}
		}
		c.links[inode{uint64(st.Dev), st.Ino}] = path
	}
	return nil
}

// make makes the copy without its metadata.
func (c *Copier) make(from Dir, name string, st *unix.Stat_t, to Dir) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return copyFile(from, to, name, st)
	case unix.S_IFLNK:
		target, err := from.Readlink(name)
		if err != nil {
			return err
		}
		if err := retry(func() error { return unix.Symlinkat(target, to.fd, name) }); err != nil {
			return &os.PathError{Op: "symlink", Path: to.Path(name), Err: err}
		}
		return nil
	default:
		err := retry(func() error { return unix.Mknodat(to.fd, name, st.Mode&unix.S_IFMT|0o600, int(st.Rdev)) })
		if err != nil {
			return &os.PathError{Op: "mknod", Path: to.Path(name), Err: err}
		}
		return nil
	}
}

// DirMeta gives the directory to the metadata of from.
func (c *Copier) DirMeta(from, to Dir) error {
	st, err := from.Lstat("")
	if err != nil {
		return err
	}
	return c.meta(from, "", &st, to, "")
}

// meta copies owner, attributes, mode and time, in the order in which none
// undoes another.
func (c *Copier) meta(from Dir, name string, st *unix.Stat_t, to Dir, toName string) error {
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_EMPTY_PATH
	if err := retry(func() error { return unix.Fchownat(to.fd, toName, int(st.Uid), int(st.Gid), flags) }); err != nil {
		return &os.PathError{Op: "chown", Path: to.Path(toName), Err: err}
	}
	if err := c.xattrs(from, name, to, toName); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := to.Chmod(toName, st.Mode&0o7777); err != nil {
			return err
		}
	}
	return to.SetTime(toName, c.time(st.Mtim.Nano()))
}

func (c *Copier) time(ns int64) int64 {
	if c.Time == nil {
		return ns
	}
	return c.Time(ns)
}

// xattrs makes the attributes that count the same.
func (c *Copier) xattrs(from Dir, name string, to Dir, toName string) error {
	want, err := c.listXattrs(from, name)
	if err != nil {
		return err
	}
	have, err := c.listXattrs(to, toName)
	if err != nil {
		return err
	}
	for _, attr := range have {
		if slices.Contains(want, attr) {
			continue
		}
		if err := RemoveXattr(to.magic(toName), attr); err != nil {
			return to.named(toName, err)
		}
	}
	for _, attr := range want {
		value, ok, err := from.Xattr(name, attr)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := to.SetXattr(toName, attr, string(value)); err != nil {
			return err
		}
	}
	return nil
}

// SameXattrs reports whether two directories have the same attributes, of those
// that are copied.
func (c *Copier) SameXattrs(a, b Dir) (bool, error) {
	as, err := c.listXattrs(a, "")
	if err != nil {
		return false, err
	}
	bs, err := c.listXattrs(b, "")
	if err != nil || len(as) != len(bs) {
		return false, err
	}
	for _, attr := range as {
		av, _, err := a.Xattr("", attr)
		if err != nil {
			return false, err
		}
		bv, ok, err := b.Xattr("", attr)
		if !ok || err != nil || !bytes.Equal(av, bv) {
			return false, err
		}
	}
	return true, nil
}

func (c *Copier) listXattrs(d Dir, name string) ([]string, error) {
	names, err := Xattrs(d.magic(name))
	if err != nil {
		return nil, d.named(name, err)
	}
	return slices.DeleteFunc(names, func(attr string) bool {
		return attr == "security.selinux" || c.Xattr != nil && !c.Xattr(attr)
	}), nil
}

// Chmod sets the mode of name in d, which is no link; "" is d itself: chmod(2).
func (d Dir) Chmod(name string, mode uint32) error {
	err := retry(func() error {
		if name == "" {
			return unix.Fchmod(d.fd, mode)
		}
		return unix.Fchmodat(d.fd, name, mode, 0)
	})
	if err != nil {
		return &os.PathError{Op: "chmod", Path: d.Path(name), Err: err}
	}
	return nil
}

// SetTime sets the modification time of name in d, no link followed; "" is d
// itself: utimensat(2). The access time is left alone.
func (d Dir) SetTime(name string, ns int64) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(ns)}
	if name == "" {
		name = "."
	}
	err := retry(func() error { return unix.UtimesNanoAt(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return &os.PathError{Op: "utimensat", Path: d.Path(name), Err: err}
	}
	return nil
}

func copyFile(from, to Dir, name string, st *unix.Stat_t) (err error) {
	src, err := from.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := to.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if st.Size == 0 {
		return nil
	}
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return nil
	}
	if st.Blocks*512 < st.Size {
		return copySparse(dst, src, st.Size)
	}
	// os.File.ReadFrom uses copy_file_range(2) where it works.
	_, err = io.Copy(dst, src)
	return err
}

// copySparse copies what is not a hole: lseek(2), SEEK_DATA.
func copySparse(dst, src *os.File, size int64) error {
	if err := dst.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "seek", Path: src.Name(), Err: err}
		}
		hole, err := unix.Seek(int(src.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return &os.PathError{Op: "seek", Path: src.Name(), Err: err}
		}
		if _, err := io.Copy(io.NewOffsetWriter(dst, data), io.NewSectionReader(src, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
	return nil
}

func (d Dir) open(name string, flags int) (*os.File, error) {
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: d.Path(name), Err: err}
	}
	return os.NewFile(uintptr(fd), d.Path(name)), nil
}

// IsOverlayXattr reports whether an attribute belongs to an overlay rather than
// to a file: trusted.overlay.* and user.overlay.*.
func IsOverlayXattr(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}
