package container

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"builder/executor/sandbox"
	"builder/image/layer"
	"builder/internal/rootfs"
	"builder/internal/sys"
	"builder/snapshot"
)

// Export writes a container's whole tree as a tar, without its volumes.
func Export(ctx context.Context, w io.Writer, active snapshot.Active) error {
	root := rootOf(active.Mount())
	if root.Upper != "" {
		root.Lower = append([]string{root.Upper}, root.Lower...)
	}
	root.Upper, root.Work, root.Writable = "", "", false
	dir, err := sandbox.OpenDir(root, "/")
	if err != nil {
		return err
	}
	d, err := sys.OpenDir(fmt.Sprintf("/proc/self/fd/%d/.", dir.Fd()))
	if err != nil {
		return errors.Join(err, dir.Close())
	}
	p := packer{ctx: ctx, w: tar.NewWriter(w), links: map[[2]uint64]string{}}
	err = p.children(d, "")
	return errors.Join(err, p.w.Close(), d.Close(), dir.Close())
}

// packer writes files to a tar.
type packer struct {
	ctx   context.Context //nolint:containedctx // it lives as long as one call
	w     *tar.Writer
	links map[[2]uint64]string
}

// children writes all that is in a directory, whose name in the tar is given.
func (p *packer) children(d sys.Dir, name string) error {
	if err := p.ctx.Err(); err != nil {
		return context.Cause(p.ctx)
	}
	names, err := d.Names()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := p.entry(d, n, path.Join(name, n)); err != nil {
			return err
		}
	}
	return nil
}

// entry writes what is called from in d, and all below it.
func (p *packer) entry(d sys.Dir, from, name string) error {
	st, err := d.Lstat(from)
	if err != nil {
		return err
	}
	h, err := p.header(d, from, name, &st)
	if err != nil || h == nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		if err := p.w.WriteHeader(h); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return p.file(d, from, h)
	case tar.TypeDir:
		sub, err := d.OpenDir(from)
		if err != nil {
			return err
		}
		return errors.Join(p.children(sub, name), sub.Close())
	}
	return nil
}

// header describes an entry; it is nil for a socket, which no tar can hold.
func (p *packer) header(d sys.Dir, from, name string, st *unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(0, st.Mtim.Nano()).Truncate(time.Second),
		PAXRecords: map[string]string{},
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = d.Readlink(from); err != nil {
			return nil, err
		}
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return nil, nil
	}
	if id := [2]uint64{st.Dev, st.Ino}; st.Nlink > 1 && h.Typeflag != tar.TypeDir {
		if first, ok := p.links[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return h, nil
		}
		p.links[id] = name
	}
	attrs, err := d.XattrNames(from)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return nil, err
	}
	for _, a := range attrs {
		if !layer.KeepXattr(a) {
			continue
		}
		value, ok, err := d.Xattr(from, a)
		if err != nil {
			return nil, err
		}
		if ok {
			h.PAXRecords["SCHILY.xattr."+a] = string(value)
		}
	}
	return h, nil
}

// file writes a regular file. One that shrinks meanwhile is an error, since the
// tar says how long it is; what it grows by is left out.
func (p *packer) file(d sys.Dir, from string, h *tar.Header) error {
	f, err := d.OpenFile(from)
	if err != nil {
		return err
	}
	if err := p.w.WriteHeader(h); err != nil {
		return errors.Join(err, f.Close())
	}
	n, err := io.Copy(p.w, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size {
		err = fmt.Errorf("%s became shorter while it was read", h.Name)
	}
	return errors.Join(err, f.Close())
}

// unpacker writes the files of a tar below a directory of a root. No name and no
// link leads out of the root.
type unpacker struct {
	root *rootfs.Root
	dir  string // where the tar's names begin
	// owner, where it is not nil, gets all files.
	owner *[2]int
	dirs  []dirTime
}

// dirTime is a directory that gets its time when nothing more is put into it.
type dirTime struct {
	path string
	at   time.Time
}

// unpack reads the tar to its end.
func (u *unpacker) unpack(ctx context.Context, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return u.finish()
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return err
		}
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// inside is the path of a tar's name: one that begins with ".." or "/" begins at
// the directory all the same.
func (u *unpacker) inside(name string) string {
	return path.Join(u.dir, path.Clean("/"+name))
}

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	at := u.inside(h.Name)
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	parent, name := path.Split(at)
	if name == "" {
		return nil // the root itself stays as it is
	}
	if _, err := u.root.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	d, err := openInRoot(u.root, parent)
	if err != nil {
		return err
	}
	return errors.Join(u.place(d, name, at, h, r), d.Close())
}

// place makes an entry in its directory.
func (u *unpacker) place(d sys.Dir, name, at string, h *tar.Header, r io.Reader) error {
	old, err := d.Lstat(name)
	was := err == nil
	if err != nil && !gone(err) {
		return err
	}
	wasDir := was && old.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case wasDir && h.Typeflag != tar.TypeDir:
		return errors.New("cannot overwrite a directory with a file")
	case was && !wasDir && h.Typeflag == tar.TypeDir:
		return errors.New("cannot overwrite a file with a directory")
	case was && !wasDir:
		if err := d.RemoveAll(name); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeLink {
		return u.link(d, name, h)
	}
	if !wasDir {
		if err := makeFile(d, name, h, r); err != nil {
			return err
		}
	}
	return u.describe(d, name, at, h)
}

// link makes a hard link to what the tar had before.
func (u *unpacker) link(d sys.Dir, name string, h *tar.Header) error {
	dir, first := path.Split(u.inside(h.Linkname))
	from, err := openInRoot(u.root, dir)
	if err != nil {
		return err
	}
	return errors.Join(from.Link(first, d, name), from.Close())
}

func makeFile(d sys.Dir, name string, h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeReg:
		f, err := d.CreateFile(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	case tar.TypeDir:
		return d.Mkdir(name)
	case tar.TypeSymlink:
		return d.Symlink(h.Linkname, name)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		kind := map[byte]uint32{tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK}[h.Typeflag]
		return d.Mknod(name, kind|0o600, uint32(h.Devmajor), uint32(h.Devminor))
	}
	return fmt.Errorf("entries of type %q are not supported", h.Typeflag)
}

// describe gives an entry its owner, attributes, mode and time.
func (u *unpacker) describe(d sys.Dir, name, at string, h *tar.Header) error {
	uid, gid := h.Uid, h.Gid
	if u.owner != nil {
		uid, gid = u.owner[0], u.owner[1]
	}
	if err := d.Chown(name, uid, gid); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		a, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || !layer.KeepXattr(a) || h.Typeflag == tar.TypeSymlink {
			continue
		}
		if err := d.SetXattr(name, a, value); err != nil {
			return err
		}
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := d.Chmod(name, uint32(h.Mode&0o7777)); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		u.dirs = append(u.dirs, dirTime{at, h.ModTime})
		return nil
	}
	return d.SetTime(name, h.ModTime.UnixNano())
}

// finish gives directories their times, the inner ones first.
func (u *unpacker) finish() error {
	var errs []error
	for i := len(u.dirs) - 1; i >= 0; i-- {
		parent, name := path.Split(u.dirs[i].path)
		d, err := openInRoot(u.root, parent)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, d.SetTime(name, u.dirs[i].at.UnixNano()), d.Close())
	}
	return errors.Join(errs...)
}

// openInRoot opens a directory of a root, following links inside it.
func openInRoot(root *rootfs.Root, dir string) (sys.Dir, error) {
	f, err := root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return sys.Dir{}, err
	}
	d, err := sys.OpenDir(fmt.Sprintf("/proc/self/fd/%d/.", f.Fd()))
	return d, errors.Join(err, f.Close())
}
