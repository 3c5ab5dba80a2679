package source

import (
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"builder/image/layer"
	"builder/internal/sys"
)

// direntBuffer is how much of a directory is read at a time.
const direntBuffer = 32 << 10

// Preload reads all below path, with several goroutines.
func (c *Context) Preload(path string) {
	d := c.find(path)
	if d == nil {
		return
	}
	var g errgroup.Group
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	c.loadAll(&g, d)
	_ = g.Wait() // errors are the context's
}

func (c *Context) loadAll(g *errgroup.Group, d *directory) {
	c.load(d)
	for _, sub := range d.dirs {
		work := func() error {
			c.loadAll(g, sub)
			return nil
		}
		if !g.TryGo(work) {
			_ = work()
		}
	}
}

// load reads a directory once. An error is kept in the context, and the
// directory is empty.
func (c *Context) load(d *directory) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.loaded {
		return
	}
	d.loaded = true
	if c.Err() != nil {
		return
	}
	if err := c.read(d); err != nil {
		if d.excluded && errors.Is(err, fs.ErrPermission) {
			return // as docker: what is excluded need not be readable
		}
		c.fail(c.pathError("read directory", d.path, err))
	}
}

// reader reads one directory.
type reader struct {
	*Context
	dir  *directory
	open sys.Dir
}

func (c *Context) read(d *directory) error {
	open, err := c.root.OpenBelow(d.path)
	if errors.Is(err, fs.ErrNotExist) && d != c.top {
		return nil // removed since its parent was read
	}
	if err != nil {
		return err
	}
	defer open.Close()
	buf := direntBuffers.Get().(*[]byte)
	defer direntBuffers.Put(buf)
	list, err := open.Dirents(*buf)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b sys.Dirent) int { return strings.Compare(a.Name, b.Name) })
	r := reader{Context: c, dir: d, open: open}
	d.entries = make([]layer.Entry, 0, len(list))
	for _, ent := range list {
		if err := r.add(ent); err != nil {
			return err
		}
	}
	return nil
}

var direntBuffers = sync.Pool{New: func() any {
	buf := make([]byte, direntBuffer)
	return &buf
}}

// add looks at one name of the directory and keeps it, unless it is excluded.
func (r *reader) add(ent sys.Dirent) error {
	path := ent.Name
	if r.dir.path != "" {
		path = r.dir.path + "/" + ent.Name
	}
	mayBeDir := ent.Type == unix.DT_DIR || ent.Type == unix.DT_UNKNOWN
	var excluded bool
	var match *matched
	if r.ignore != nil {
		var err error
		if excluded, match, err = r.ignore.matches(path, r.dir.match, mayBeDir); err != nil {
			return err
		}
	}
	if excluded && (!mayBeDir || !r.ignore.reaches(path)) {
		return nil
	}
	st, err := r.open.Lstat(ent.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed since the directory was read
	}
	if err != nil {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if excluded && !isDir {
		return nil
	}
	e, err := r.entry(path, ent.Name, &st)
	if err != nil {
		return err
	}
	if isDir {
		sub := &directory{path: path, match: match, excluded: excluded}
		if excluded {
			// It exists only if something in it does.
			if r.load(sub); len(sub.entries) == 0 {
				return nil
			}
		}
		if r.dir.dirs == nil {
			r.dir.dirs = map[string]*directory{}
		}
		r.dir.dirs[path[len(path)-len(ent.Name):]] = sub
	}
	r.dir.entries = append(r.dir.entries, e)
	return nil
}

// entry describes what stands at name in the directory.
func (r *reader) entry(path, name string, st *unix.Stat_t) (layer.Entry, error) {
	e := layer.Entry{Path: path, Mode: st.Mode & 0o7777, Mtime: st.Mtim.Nano()}
	if r.owners {
		e.UID, e.GID = int(st.Uid), int(st.Gid)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Type = layer.Dir
		return e, r.xattrs(&e, name)
	case unix.S_IFREG:
		return e, r.file(&e, name, st)
	case unix.S_IFLNK:
		e.Type, e.Mode = layer.Symlink, 0o777
		link, err := r.open.Readlink(name)
		if err != nil {
			return e, err
		}
		e.Link = link
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Type, e.Major, e.Minor = layer.Char, unix.Major(st.Rdev), unix.Minor(st.Rdev)
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			e.Type = layer.Block
		}
	case unix.S_IFIFO:
		e.Type = layer.Fifo
	default:
		// A socket reaches BuildKit as an empty file.
		e.Type, e.Digest = layer.File, emptyDigest
	}
	return e, nil
}

// file describes a regular file. One whose state is known has no attributes.
func (r *reader) file(e *layer.Entry, name string, st *unix.Stat_t) error {
	e.Type, e.Size = layer.File, st.Size
	if st.Nlink > 1 {
		r.mu.Lock()
		first, ok := r.names[inode{st.Dev, st.Ino}]
		if !ok {
			r.names[inode{st.Dev, st.Ino}] = e.Path
		}
		r.mu.Unlock()
		if ok {
			e.Type, e.Link = layer.Hardlink, first
		}
	}
	if r.known != nil {
		if digest, ok := r.known.Lookup(statOf(st)); ok {
			e.Digest = digest
			return nil
		}
	}
	return r.xattrs(e, name)
}

// xattrs reads those attributes that reach an image. A capability does not: who
// receives the context changes the owner after it has set attributes.
func (r *reader) xattrs(e *layer.Entry, name string) error {
	names, err := r.open.XattrNames(name)
	if err != nil {
		return err
	}
	for _, attr := range names {
		if attr == "security.capability" || !layer.KeepXattr(attr) {
			continue
		}
		// What may not be read is left out, as docker does.
		if value, ok, err := r.open.Xattr(name, attr); err == nil && ok {
			e.Xattrs = append(e.Xattrs, layer.Xattr{Name: attr, Value: string(value)})
		}
	}
	slices.SortFunc(e.Xattrs, func(a, b layer.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func statOf(st *unix.Stat_t) Stat {
	return Stat{Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}
}
