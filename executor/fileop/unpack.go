package fileop

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"builder/image/layer"
	"builder/internal/decompress"
)

const (
	// maxMembers is how many members an archive may have.
	maxMembers = 2 << 20
	// maxPath and maxName are what the kernel takes.
	maxPath, maxName = 4095, 255
)

// unpack unpacks e to the destination if it is an archive, and reports whether
// it is. The destination is the root of everything in the archive: its links,
// those that are there already, and "..".
func (c *copier) unpack(ctx context.Context, e *layer.Entry) (done bool, err error) {
	if e.Type != layer.File && e.Type != layer.Hardlink {
		return false, nil
	}
	if ok, err := c.isArchive(ctx, e); !ok || err != nil {
		return false, err
	}
	top, err := c.makeDest(c.op.Dest, dirMode)
	if err != nil {
		return false, err
	}
	f, err := c.source.Open(ctx, *e)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	raw := io.TeeReader(f, sum)
	if err := c.members(ctx, raw, top); err != nil {
		return false, fmt.Errorf("unpack %s: %w", e.Path, err)
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return false, err
	}
	if [32]byte(sum.Sum(nil)) != e.Digest {
		return false, fmt.Errorf("unpack %s: %w", e.Path, layer.ErrChanged)
	}
	return true, nil
}

// isArchive reports whether e is a tar with a member, compressed or not.
func (c *copier) isArchive(ctx context.Context, e *layer.Entry) (ok bool, err error) {
	f, err := c.source.Open(ctx, *e)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, err := decompress.NewReader(f)
	if err != nil {
		return false, nil //nolint:nilerr // then it is something else
	}
	_, next := tar.NewReader(r).Next()
	if err := r.Close(); err != nil {
		return false, nil //nolint:nilerr // so did not end well what there was to read
	}
	return next == nil, nil
}

// members unpacks all members of an archive into top.
func (c *copier) members(ctx context.Context, raw io.Reader, top *node) error {
	r, err := decompress.NewReader(raw)
	if err != nil {
		return err
	}
	u := unpacker{copier: c, top: top, tar: tar.NewReader(cancelReader{ctx, r})}
	var sparse layer.Sparse
	for n := 0; ; n++ {
		h, err := u.tar.Next()
		if err == io.EOF {
			return r.Close()
		}
		if err == nil && n >= maxMembers {
			err = layer.ErrLimit
		}
		if err == nil {
			err = sparse.Add(h)
		}
		if err == nil {
			err = u.member(h)
		}
		if err != nil {
			return errors.Join(err, r.Close())
		}
	}
}

// cancelReader ends with the context.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c cancelReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// unpacker unpacks one archive.
type unpacker struct {
	*copier
	top *node
	tar *tar.Reader
}

func (u *unpacker) member(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name := path.Clean(h.Name)
	p := rooted(name)
	if err := checkName(p); err != nil {
		return err
	}
	if p == "" {
		return u.self(h, name)
	}
	if err := u.imply(parent(p)); err != nil {
		return err
	}
	dir, base, err := u.tree.walk(u.top, p)
	if err != nil {
		return err
	}
	n := u.tree.child(dir, base)
	if n != nil && !(n.isDir() && h.Typeflag == tar.TypeDir) {
		u.tree.removeAll(dir, base)
		n = nil
	}
	if n == nil {
		if n, err = u.create(h, dir, base); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return u.dress(n, h)
}

// self is a member for the destination itself: "." says nothing about it.
func (u *unpacker) self(h *tar.Header, name string) error {
	switch {
	case name == ".":
		return nil
	case h.Typeflag != tar.TypeDir:
		return &fs.PathError{Op: "unpack", Path: h.Name, Err: syscall.EISDIR}
	}
	return u.dress(u.top, h)
}

func checkName(p string) error {
	if len(p) > maxPath {
		return &fs.PathError{Op: "unpack", Path: p[:maxName] + "…", Err: syscall.ENAMETOOLONG}
	}
	for part := range strings.SplitSeq(p, "/") {
		if len(part) > maxName {
			return &fs.PathError{Op: "unpack", Path: part, Err: syscall.ENAMETOOLONG}
		}
	}
	return nil
}

// imply makes the directories on the way to a member that have none of their
// own. They belong to root, whoever the members are given to.
func (u *unpacker) imply(p string) error {
	if p == "" {
		return nil
	}
	dir, base, err := u.tree.walk(u.top, p)
	if errors.Is(err, fs.ErrNotExist) {
		if err := u.imply(parent(p)); err != nil {
			return err
		}
		dir, base, err = u.tree.walk(u.top, p)
	}
	if err != nil {
		return err
	}
	if u.tree.child(dir, base) == nil {
		u.tree.mkdir(dir, base, dirMode, &owner{})
	}
	return nil
}

// create makes what a header describes, but for owner, mode and attributes.
func (u *unpacker) create(h *tar.Header, dir *node, base string) (*node, error) {
	e := layer.Entry{}
	switch h.Typeflag {
	case tar.TypeDir:
		e.Type = layer.Dir
	case tar.TypeReg:
		at, digest, err := u.spool.add(u.tar)
		e.Type, e.Size, e.Digest = layer.File, at.size, digest
		return u.tree.put(dir, base, e, at), err
	case tar.TypeSymlink:
		if h.Linkname == "" {
			return nil, &fs.PathError{Op: "symlink", Path: "/" + join(dir.path, base), Err: syscall.ENOENT}
		}
		e.Type, e.Link, e.Mode = layer.Symlink, h.Linkname, 0o777
	case tar.TypeChar, tar.TypeBlock:
		e.Type, e.Major, e.Minor = layer.Char, uint32(h.Devmajor), uint32(h.Devminor)
		if h.Typeflag == tar.TypeBlock {
			e.Type = layer.Block
		}
		if err := checkDevice(&e); err != nil {
			return nil, err
		}
	case tar.TypeFifo:
		e.Type = layer.Fifo
	case tar.TypeLink:
		return u.link(h, dir, base)
	default:
		return nil, fmt.Errorf("unhandled tar header type %q", h.Typeflag) // GNU's sparse files too, as with BuildKit
	}
	return u.tree.put(dir, base, e, nil), nil
}

// checkDevice refuses the device that overlayfs takes for a removed file.
func checkDevice(e *layer.Entry) error {
	if e.Type == layer.Char && e.Major == 0 && e.Minor == 0 {
		return &fs.PathError{Op: "mknod", Path: "/" + e.Path, Err: syscall.EPERM}
	}
	return nil
}

// link makes base in dir another name of what stands at the member's link name.
func (u *unpacker) link(h *tar.Header, dir *node, base string) (*node, error) {
	target := rooted(h.Linkname)
	if err := checkName(target); err != nil {
		return nil, err
	}
	in, name, err := u.tree.walk(u.top, target)
	if err != nil {
		return nil, err
	}
	n := u.tree.child(in, name)
	switch {
	case n == nil:
		return nil, &fs.PathError{Op: "link", Path: "/" + target, Err: syscall.ENOENT}
	case n.isDir():
		return nil, &fs.PathError{Op: "link", Path: "/" + target, Err: syscall.EPERM}
	case !n.made:
		// A file of the tree below gets another name: both are this layer's then.
		was, _ := u.tree.below.Lookup(n.path)
		n.made, n.data = true, fromDest{was}
	}
	made := u.tree.link(dir, base, n)
	for _, n := range made.names.nodes {
		// Giving a file to somebody takes its capabilities away.
		n.entry.Xattrs = slices.DeleteFunc(slices.Clone(n.entry.Xattrs), func(x layer.Xattr) bool {
			return x.Name == capability
		})
	}
	return made, nil
}

// dress gives n, under all its names, the owner, mode and attributes of h.
func (u *unpacker) dress(n *node, h *tar.Header) error {
	own := owner{uid: validID(h.Uid), gid: validID(h.Gid)}
	if u.own != nil {
		own = *u.own
	}
	xattrs, err := headerXattrs(h)
	if err != nil {
		return err
	}
	all := []*node{n}
	if n.names != nil {
		all = n.names.nodes
	}
	for _, n := range all {
		n.entry.UID, n.entry.GID = own.uid, own.gid
		n.entry.Mtime, n.meta = u.tree.now, true
		if n.entry.Type != layer.Symlink {
			n.entry.Mode = uint32(h.Mode) & 0o7777
		}
		if n.entry.Type == layer.File || n.entry.Type == layer.Dir {
			setXattrs(&n.entry, xattrs)
		}
	}
	return nil
}

// validID is what chown(2) makes of an id. -1 leaves root in place.
func validID(id int) int {
	if n := uint32(id); n != 1<<32-1 {
		return int(n)
	}
	return 0
}

func headerXattrs(h *tar.Header) ([]layer.Xattr, error) {
	var list []layer.Xattr
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || !layer.KeepXattr(name) {
			continue
		}
		if name == capability && !validCapability(value) {
			return nil, &fs.PathError{Op: "setxattr " + name, Path: h.Name, Err: syscall.EINVAL}
		}
		list = append(list, layer.Xattr{Name: name, Value: value})
	}
	return list, nil
}

const capability = "security.capability"

// validCapability reports whether the kernel takes the value: one word with
// revision 2 or 3 and the effective bit, and as many more as that revision has
// (capabilities(7)). A layer with another value could not be unpacked.
func validCapability(value string) bool {
	if len(value) < 4 || value[0]&^1 != 0 || value[1] != 0 || value[2] != 0 {
		return false
	}
	return value[3] == 2 && len(value) == 20 || value[3] == 3 && len(value) == 24
}
