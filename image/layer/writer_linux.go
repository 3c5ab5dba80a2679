package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// treeWriter writes entries into a directory. Paths that it is given are free
// of links; should there be one after all it is not followed.
type treeWriter struct {
	at     *cursor // where entries are made
	links  *cursor // where hard links lead
	style  Whiteouts
	userns bool
	below  View
	open   func(ctx context.Context, path string) (io.ReadCloser, error)
	copies map[string]bool // files of lower layers that were copied for hard links
	lent   []Entry         // directories of lower layers that were made for the copies
	buf    []byte
}

func newTreeWriter(dir string, style Whiteouts, below View, open func(context.Context, string) (io.ReadCloser, error)) (*treeWriter, error) {
	at, err := openCursor(dir)
	if err != nil {
		return nil, err
	}
	links, err := openCursor(dir)
	if err != nil {
		return nil, errors.Join(err, at.close())
	}
	return &treeWriter{
		at: at, links: links, style: style, userns: sys.InUserNamespace(),
		below: below, open: open, copies: map[string]bool{}, buf: make([]byte, 64<<10),
	}, nil
}

func (t *treeWriter) close() error { return errors.Join(t.at.close(), t.links.close()) }

// place calls make for name in the directory that path is in, once more after
// removing what stood there.
func (t *treeWriter) place(path string, make func(dir sys.Dir, name string) error) error {
	parent, name := split(path)
	dir, err := t.at.dir(parent)
	if err != nil {
		return err
	}
	err = make(dir, name)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := t.remove(path); err != nil {
		return err
	}
	if dir, err = t.at.dir(parent); err != nil {
		return err
	}
	return make(dir, name)
}

// remove removes path and all that is in it.
func (t *treeWriter) remove(path string) error {
	if err := errors.Join(t.at.forget(path), t.links.forget(path)); err != nil {
		return err
	}
	parent, name := split(path)
	dir, err := t.at.dir(parent)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	return dir.RemoveAll(name)
}

// mkdir makes a directory where none is. Its metadata comes last, see finishDir.
func (t *treeWriter) mkdir(path string) error {
	return t.place(path, func(dir sys.Dir, name string) error {
		err := dir.Mkdir(name)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		st, statErr := dir.Lstat(name)
		if statErr != nil {
			return statErr
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil
		}
		return err
	})
}

// finish gives the directories their metadata, when nothing is to be made in
// them any more, and does what can only be done when all is known.
func (t *treeWriter) finish(ctx context.Context, ix *Index, mtime func(*Entry) int64) error {
	if len(ix.Entries) > 0 && ix.Entries[0].Path == "" && ix.Entries[0].Opaque {
		if err := t.hideRoot(ix); err != nil {
			return err
		}
	}
	for i := len(t.lent) - 1; i >= 0; i-- {
		e := &t.lent[i]
		err := t.finishDir(e, e.Mtime)
		gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) // since
		if err != nil && !gone {
			return err
		}
	}
	for i := len(ix.Entries) - 1; i >= 0; i-- {
		e := &ix.Entries[i]
		if e.Type != Dir || e.Path == "" {
			continue
		}
		if i%64 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := t.finishDir(e, mtime(e)); err != nil {
			return err
		}
	}
	return nil
}

// hideRoot hides what is below in the root. An overlay does not heed a mark on
// its root, so each of its children gets one.
func (t *treeWriter) hideRoot(ix *Index) error {
	if t.below == nil || t.style == WhiteoutsApplied {
		return nil
	}
	for _, old := range t.below.ReadDir("") {
		e, ok := ix.Find(old.Path)
		var err error
		switch {
		case !ok:
			err = t.whiteout(old.Path)
		case e.Type == Dir:
			var dir sys.Dir
			if dir, err = t.at.dir(e.Path); err == nil {
				err = t.markOpaque(dir.File())
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finishDir gives a directory its metadata.
func (t *treeWriter) finishDir(e *Entry, mtime int64) error {
	dir, err := t.at.dir(e.Path)
	if err != nil {
		return err
	}
	f := dir.File()
	if e.Opaque {
		if err := t.markOpaque(f); err != nil {
			return err
		}
	}
	if t.style == WhiteoutsApplied {
		if err := t.dropXattrs(e); err != nil {
			return err
		}
	}
	return setMeta(f, e, mtime)
}

// dropXattrs takes from a directory the attributes that it had in the tree below
// and has no more.
func (t *treeWriter) dropXattrs(e *Entry) error {
	parent, name := split(e.Path)
	dir, err := t.links.dir(parent)
	if err != nil {
		return err
	}
	old, err := keptXattrs(dir, name, Dir)
	if err != nil {
		return err
	}
	for _, x := range old {
		if _, ok := slices.BinarySearchFunc(e.Xattrs, x, compareXattrs); ok {
			continue
		}
		if err := dir.RemoveXattr(name, x.Name); err != nil {
			return err
		}
	}
	return nil
}

func (t *treeWriter) markOpaque(f sys.File) error {
	switch t.style {
	case WhiteoutsTrusted:
		return f.SetXattr("trusted.overlay.opaque", "y")
	case WhiteoutsUser:
		return f.SetXattr("user.overlay.opaque", "y")
	default:
		return nil
	}
}

// setMeta gives an open file its owner, attributes, mode and time, in the order
// in which none undoes another.
func setMeta(f sys.File, e *Entry, mtime int64) error {
	if err := f.Chown(e.UID, e.GID); err != nil {
		return ownerError(err, e)
	}
	for i := range e.Xattrs {
		err := f.SetXattr(e.Xattrs[i].Name, e.Xattrs[i].Value)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	if err := f.Chmod(e.Mode); err != nil {
		return err
	}
	return f.SetTime(mtime)
}

func ownerError(err error, e *Entry) error {
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("owner %d:%d is not mapped into the user namespace (see /etc/subuid and /etc/subgid): %w", e.UID, e.GID, err)
	}
	return err
}

// create makes a regular file, has fill write it, and gives it its metadata.
func (t *treeWriter) create(e *Entry, mtime int64, fill func(f sys.File) error) error {
	return t.place(e.Path, func(dir sys.Dir, name string) (err error) {
		f, err := dir.CreateFile(name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := fill(f); err != nil {
			return err
		}
		return setMeta(f, e, mtime)
	})
}

// node makes what is neither directory nor regular file.
func (t *treeWriter) node(e *Entry, mtime int64) error {
	return t.place(e.Path, func(dir sys.Dir, name string) error {
		err := t.makeNode(dir, name, e)
		if errors.Is(err, unix.EPERM) && t.userns && (e.Type == Char || e.Type == Block) {
			return nil // devices do not work in a user namespace: docker leaves them out too
		}
		if err != nil {
			return err
		}
		return label(dir, name, e, mtime)
	})
}

// label gives what has the name its metadata.
func label(dir sys.Dir, name string, e *Entry, mtime int64) error {
	if err := dir.Chown(name, e.UID, e.GID); err != nil {
		return ownerError(err, e)
	}
	if e.Type != Symlink {
		for i := range e.Xattrs {
			err := dir.SetXattr(name, e.Xattrs[i].Name, e.Xattrs[i].Value)
			if err != nil && !errors.Is(err, unix.ENOTSUP) {
				return err
			}
		}
		if err := dir.Chmod(name, e.Mode); err != nil {
			return err
		}
	}
	return dir.SetTime(name, mtime)
}

// relabel gives what stands at path the metadata of e.
func (t *treeWriter) relabel(path string, e *Entry) error {
	parent, name := split(path)
	dir, err := t.at.dir(parent)
	if err != nil {
		return err
	}
	err = label(dir, name, e, e.Mtime)
	if errors.Is(err, fs.ErrNotExist) && t.userns && t.leftOut(dir, name) {
		return nil // a device that was left out
	}
	return err
}

func (t *treeWriter) makeNode(dir sys.Dir, name string, e *Entry) error {
	switch e.Type {
	case Symlink:
		return dir.Symlink(e.Link, name)
	case Char:
		return dir.Mknod(name, unix.S_IFCHR|0o600, e.Major, e.Minor)
	case Block:
		return dir.Mknod(name, unix.S_IFBLK|0o600, e.Major, e.Minor)
	default:
		return dir.Mknod(name, unix.S_IFIFO|0o600, 0, 0)
	}
}

// link makes path a further name of the file at target.
func (t *treeWriter) link(target, path string) error {
	parent, first := split(target)
	from, err := t.links.dir(parent)
	if err != nil {
		return err
	}
	return t.place(path, func(dir sys.Dir, name string) error {
		err := from.Link(first, dir, name)
		if errors.Is(err, fs.ErrNotExist) && t.userns && t.leftOut(from, first) {
			return nil // a device that was left out
		}
		return err
	})
}

func (t *treeWriter) leftOut(dir sys.Dir, name string) bool {
	_, err := dir.Lstat(name)
	return errors.Is(err, fs.ErrNotExist)
}

// linkBelow makes path a further name of a file of a lower layer. Where the
// lower layers are not part of the directory the file is copied up first.
func (t *treeWriter) linkBelow(ctx context.Context, target, path string) error {
	if t.style == WhiteoutsApplied {
		return t.link(target, path)
	}
	if !t.copies[target] {
		if err := t.copyUp(ctx, target); err != nil {
			return err
		}
		t.copies[target] = true
	}
	return t.link(target, path)
}

func (t *treeWriter) copyUp(ctx context.Context, path string) error {
	if t.below == nil || t.open == nil {
		return fmt.Errorf("hard link to %s, which is not in this layer: %w", path, fs.ErrNotExist)
	}
	e, ok := t.below.Lookup(path)
	if ok && e.Type == Hardlink {
		// Under the name that was asked for: which one it is does not matter here.
		first, _ := t.below.Lookup(e.Link)
		e.Type, e.Link = first.Type, first.Link
	}
	if !ok || e.Type == Dir || e.Type == Hardlink {
		return fmt.Errorf("hard link to %s: %w", path, fs.ErrNotExist)
	}
	if err := t.parents(path); err != nil {
		return err
	}
	if e.Type != File {
		return t.node(&e, e.Mtime)
	}
	return t.create(&e, e.Mtime, func(f sys.File) (err error) {
		r, err := t.open(ctx, path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		_, err = io.CopyBuffer(f, struct{ io.Reader }{r}, t.buf)
		return err
	})
}

// parents makes the directories above path that are not there, as they are
// below.
func (t *treeWriter) parents(path string) error {
	for i := 0; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		e, ok := t.below.Lookup(path[:i])
		if !ok || e.Type != Dir {
			return fmt.Errorf("%s: %w", path[:i], unix.ENOTDIR)
		}
		parent, name := split(e.Path)
		dir, err := t.at.dir(parent)
		if err != nil {
			return err
		}
		if _, err := dir.Lstat(name); err == nil {
			continue
		}
		if err := t.mkdir(e.Path); err != nil {
			return err
		}
		t.lent = append(t.lent, e)
	}
	return nil
}

// whiteout removes path, or marks it as removed.
func (t *treeWriter) whiteout(path string) error {
	if t.style == WhiteoutsApplied {
		return t.remove(path)
	}
	return t.place(path, func(dir sys.Dir, name string) error {
		return dir.Mknod(name, unix.S_IFCHR, 0, 0)
	})
}

// names lists a directory; one that is not there is empty.
func (t *treeWriter) names(path string) ([]string, error) {
	dir, err := t.at.dir(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return dir.Names()
}

// lookup describes what stands at path in a directory that holds the whole tree.
func (t *treeWriter) lookup(path string) (Entry, bool, error) {
	parent, name := split(path)
	dir, err := t.at.dir(parent)
	if err == nil {
		var st unix.Stat_t
		if st, err = dir.Lstat(name); err == nil {
			e := Entry{Path: path}
			describe(&e, &st)
			switch e.Type {
			case Symlink:
				e.Link, err = dir.Readlink(name)
			case Dir:
				e.Xattrs, err = keptXattrs(dir, name, Dir)
			}
			return e, e.Type != 0, err
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return Entry{}, false, nil
	}
	return Entry{}, false, err
}

// describe fills in what stat(2) says. A socket has no type.
func describe(e *Entry, st *unix.Stat_t) {
	e.Mode = st.Mode & 0o7777
	e.UID, e.GID = int(st.Uid), int(st.Gid)
	e.Mtime = st.Mtim.Nano()
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Type = Dir
	case unix.S_IFREG:
		e.Type, e.Size = File, st.Size
	case unix.S_IFLNK:
		e.Type, e.Mode = Symlink, 0o777
	case unix.S_IFIFO:
		e.Type = Fifo
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Type = Char
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			e.Type = Block
		}
		e.Major, e.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	}
}

// prune removes from a directory of the whole tree all that keep does not name.
// keep says what it keeps of a directory, or that it keeps a file.
func (t *treeWriter) prune(path string, n *node) error {
	names, err := t.names(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		below := join(path, name)
		child := n.children[name]
		switch {
		case child == nil || child.gone():
			err = t.remove(below)
		case child.dir():
			err = t.prune(below, child)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
