package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// Apply reads the layer tar from r, to its end-of-archive mark, writes it into
// the directory dir, and returns its index. Where dir is empty, only the index
// is made.
//
// Names that lead outside the root fail with [ErrEscape]. Of two entries with
// one name the later one counts. Whiteouts concern the layers below only. A
// failed Apply leaves dir unusable. The caller owns dir: nobody else changes it
// meanwhile.
//
// See https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#applying-changesets
func Apply(ctx context.Context, dir string, r io.Reader, o ApplyOptions) (_ *Index, err error) {
	a := &applier{o: o, root: &node{entry: &Entry{Type: Dir, Mode: 0o755}}, hash: sha256.New(), buf: make([]byte, 64<<10)}
	a.latest = math.MaxInt64
	if !o.Latest.IsZero() {
		a.latest = o.Latest.UnixNano()
	}
	if a.o.MaxEntries == 0 {
		a.o.MaxEntries = defaultMaxEntries
	}
	if dir != "" {
		a.tree, err = newTreeWriter(dir, o.Whiteouts, o.Below, o.Open)
		if err != nil {
			return nil, fmt.Errorf("apply layer: %w", err)
		}
		defer func() { err = errors.Join(err, a.tree.close()) }()
		a.behind = newBehind(a.tree)
		defer a.behind.close()
	}
	err = a.read(ctx, r)
	if a.behind != nil {
		if earlier := a.behind.drain(); earlier != nil {
			err = earlier
		}
	}
	if err != nil {
		return nil, fmt.Errorf("apply layer: %w", err)
	}
	ix := a.root.index()
	if a.tree != nil {
		if err := a.tree.finish(ctx, ix, func(e *Entry) int64 { return e.Mtime }); err != nil {
			return nil, fmt.Errorf("apply layer: %w", err)
		}
	}
	return ix, nil
}

const (
	defaultMaxEntries = 2_000_000
	// maxMetadata bounds the names, targets and attributes of all entries together.
	maxMetadata = 512 << 20
)

// applier reads one tar. What it has read so far is the tree of nodes below
// root; where there is a directory to write, that is in it already, or about to
// be, but for the metadata of directories.
type applier struct {
	o       ApplyOptions
	root    *node
	tree    *treeWriter // nil: only the index is made
	behind  *behind     // who works on tree
	name    string      // of the entry that is being read
	latest  int64
	hash    hash.Hash
	buf     []byte
	entries int
	meta    int64 // bytes of names, targets and attributes
	size    int64 // bytes of contents, holes included
	sparse  Sparse

	parentName string // the directory part of the last name, as the tar has it
	parentPath string // and where that led to
	parent     *node
}

func (a *applier) read(ctx context.Context, r io.Reader) error {
	if a.o.Limit > 0 {
		r = &limitReader{r, a.o.Limit}
	}
	tr := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := next(tr)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := a.count(h); err != nil {
			return err
		}
		a.name = h.Name
		if err := a.apply(ctx, h, tr); err != nil {
			return fmt.Errorf("%.512q: %w", h.Name, err)
		}
	}
}

// limitReader fails after n bytes instead of ending.
type limitReader struct {
	r io.Reader
	n int64
}

func (l *limitReader) Read(p []byte) (int, error) {
	if l.n <= 0 {
		return 0, ErrLimit
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.n)])
	l.n -= int64(n)
	return n, err
}

// count holds the tar against the bounds. A sparse file counts with its holes.
func (a *applier) count(h *tar.Header) error {
	a.entries++
	a.meta += int64(len(h.Name) + len(h.Linkname))
	for k, v := range h.PAXRecords {
		a.meta += int64(len(k) + len(v))
	}
	if a.entries > a.o.MaxEntries || a.meta > maxMetadata {
		return fmt.Errorf("more than %d entries, or too much about them: %w", a.entries-1, ErrLimit)
	}
	if h.Size < 0 {
		return fmt.Errorf("%.512q: negative size", h.Name)
	}
	if a.o.Limit > 0 && h.Size > a.o.Limit-a.size {
		return fmt.Errorf("%.512q: %w", h.Name, ErrLimit)
	}
	if err := a.sparse.Add(h); err != nil {
		return err
	}
	a.size += h.Size
	return nil
}

// apply does one entry.
func (a *applier) apply(ctx context.Context, h *tar.Header, r io.Reader) error {
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	if name == "" {
		return nil // the root has no metadata here, as with containerd
	}
	dir, base := split(name)
	if base == opaqueName {
		return a.opaque(dir)
	}
	if strings.HasPrefix(base, metaPrefix) || strings.Contains("/"+dir+"/", "/"+metaPrefix) {
		return nil // aufs kept its own affairs here
	}
	parent, parentPath, err := a.directory(dir, a.mtime(h))
	if err != nil {
		return err
	}
	if gone, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		if gone == "" || gone == "." || gone == ".." {
			return fmt.Errorf("whiteout of %q: %w", gone, ErrEscape)
		}
		return a.whiteout(parent, gone, join(parentPath, gone))
	}
	p := join(parentPath, base)
	if !isClean(p) {
		return fmt.Errorf("name of %d bytes: %w", len(p), unix.ENAMETOOLONG)
	}
	if h.Typeflag == tar.TypeLink {
		return a.link(ctx, parent, base, p, h)
	}
	e, err := a.entry(h, p)
	if err != nil {
		return err
	}
	return a.put(parent, base, e, r)
}

// clean returns the path that a name in a tar means: relative, without "." and
// "..". An absolute name starts at the root.
func clean(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("name with a NUL: %w", ErrEscape)
	}
	if len(name) > 2*maxPath {
		return "", fmt.Errorf("name of %d bytes: %w", len(name), unix.ENAMETOOLONG)
	}
	p := path.Clean(strings.TrimLeft(name, "/"))
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", ErrEscape
	}
	if p == "." {
		p = ""
	}
	return p, nil
}

func (a *applier) mtime(h *tar.Header) int64 {
	const far = 1 << 33 // seconds: what every file system can hold, and no int64 of nanoseconds overflows
	s := h.ModTime.Unix()
	switch {
	case s > far:
		return min(far*1e9, a.latest)
	case s < -1<<31:
		return -1 << 31 * 1e9
	}
	return min(h.ModTime.UnixNano(), a.latest)
}

// entry returns what a header says of path.
func (a *applier) entry(h *tar.Header, path string) (*Entry, error) {
	e := &Entry{Path: path, Mode: uint32(h.Mode & 0o7777), UID: h.Uid, GID: h.Gid, Mtime: a.mtime(h)}
	if !isID(h.Uid) || !isID(h.Gid) {
		return nil, fmt.Errorf("owner %d:%d: %w", h.Uid, h.Gid, unix.EINVAL)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		e.Type, e.Size = File, h.Size
	case tar.TypeDir:
		e.Type = Dir
	case tar.TypeSymlink:
		e.Type, e.Link, e.Mode = Symlink, h.Linkname, 0o777
		if e.Link == "" || len(e.Link) > maxPath || strings.IndexByte(e.Link, 0) >= 0 {
			return nil, fmt.Errorf("symbolic link to a name of %d bytes: %w", len(e.Link), unix.EINVAL)
		}
	case tar.TypeChar, tar.TypeBlock:
		if err := device(e, h); err != nil {
			return nil, err
		}
	case tar.TypeFifo:
		e.Type = Fifo
	default:
		return nil, fmt.Errorf("entry of the unknown type %q", h.Typeflag)
	}
	e.Xattrs = xattrs(h, e.Type)
	return e, nil
}

// xattrs returns the attributes that a header gives a file of that type, sorted.
func xattrs(h *tar.Header, t Type) []Xattr {
	var list []Xattr
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, "SCHILY.xattr.")
		if ok && KeepXattr(name) && xattrFits(name, t) {
			list = append(list, Xattr{name, v})
		}
	}
	slices.SortFunc(list, compareXattrs)
	return list
}

// isID reports whether Linux knows an owner of that number; the greatest one
// means no change to chown(2).
func isID(id int) bool { return id >= 0 && int64(id) < math.MaxUint32 }

// device fills in a device's numbers. The character device 0:0 means a whiteout
// to an overlay, which lets nobody make one.
func device(e *Entry, h *tar.Header) error {
	if h.Devmajor < 0 || h.Devmajor > 1<<12-1 || h.Devminor < 0 || h.Devminor > 1<<20-1 {
		return fmt.Errorf("device %d:%d: %w", h.Devmajor, h.Devminor, unix.EINVAL)
	}
	e.Type, e.Major, e.Minor = Char, uint32(h.Devmajor), uint32(h.Devminor)
	if h.Typeflag == tar.TypeBlock {
		e.Type = Block
	} else if h.Devmajor == 0 && h.Devminor == 0 {
		return fmt.Errorf("character device 0:0: %w", unix.EPERM)
	}
	return nil
}

// put adds an entry to the directory parent, in place of what has its name.
func (a *applier) put(parent *node, name string, e *Entry, r io.Reader) error {
	old := parent.children[name]
	child := &node{entry: e}
	if e.Type == Dir {
		switch {
		case old != nil && old.dir():
			old.entry, old.implied = e, false
			return nil
		case old != nil && old.gone():
			child.opaque = true
		}
	}
	if old != nil || e.Type != File {
		a.parent = nil // the next name may lead elsewhere now
	}
	parent.add(name, child)
	switch e.Type {
	case Dir:
		return a.later(func(t *treeWriter) error { return t.mkdir(e.Path) })
	case File:
		return a.file(e, r)
	default:
		return a.later(func(t *treeWriter) error { return t.node(e, e.Mtime) })
	}
}

// later has something done to the tree, where there is one.
func (a *applier) later(do func(*treeWriter) error) error {
	if a.tree == nil {
		return nil
	}
	return a.behind.later(a.name, do)
}

func (a *applier) file(e *Entry, r io.Reader) (err error) {
	a.hash.Reset()
	switch {
	case a.tree == nil:
		err = a.contents(e, r, a.hash)
	case e.Size > behindBuffer/2:
		if err = a.behind.drain(); err == nil {
			err = a.tree.create(e, e.Mtime, func(f sys.File) error { return a.contents(e, r, f, a.hash) })
		}
	default:
		err = a.smallFile(e, r)
	}
	if err == nil {
		a.hash.Sum(e.Digest[:0])
	}
	return err
}

// smallFile reads a file and has it written.
func (a *applier) smallFile(e *Entry, r io.Reader) error {
	data, err := a.behind.space(int(e.Size))
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(r, data); errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	a.hash.Write(data)
	return a.later(func(t *treeWriter) error {
		return t.create(e, e.Mtime, func(f sys.File) error {
			_, err := f.Write(data)
			return err
		})
	})
}

// contents copies a file's bytes to each of the writers.
func (a *applier) contents(e *Entry, r io.Reader, to ...io.Writer) error {
	for left := e.Size; left > 0; {
		n, err := r.Read(a.buf[:min(int64(len(a.buf)), left)])
		for _, w := range to {
			if _, err := w.Write(a.buf[:n]); err != nil {
				return err
			}
		}
		left -= int64(n)
		switch {
		case left == 0:
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}

// link adds a further name of a file. What its header says counts for the file.
func (a *applier) link(ctx context.Context, parent *node, name, path string, h *tar.Header) error {
	target, err := clean(h.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %.512q: %w", h.Linkname, err)
	}
	dir, base := split(target)
	at, err := a.resolve(dir)
	if err != nil {
		return fmt.Errorf("hard link to %.512q: %w", target, err)
	}
	target = join(at.path, base)
	if target == path {
		return fmt.Errorf("hard link to itself: %w", unix.EINVAL)
	}
	old := parent.children[name]
	file := at.child(base)
	switch {
	case base == "", file != nil && (file.gone() || file.dir()), file == nil && at.hidden:
		return fmt.Errorf("hard link to %.512q: %w", target, unix.ENOENT)
	case isOrIsWithin(target, path):
		return fmt.Errorf("hard link to %.512q, which it replaces: %w", target, unix.EINVAL)
	}
	a.parent = nil
	if file != nil {
		parent.add(name, &node{entry: file.entry})
		linked := old != nil && old.entry == file.entry
		return a.further(target, path, file.entry, linked, h)
	}
	parent.add(name, &node{entry: &Entry{Path: path, Type: Hardlink, Link: target}})
	return a.later(func(t *treeWriter) error { return t.linkBelow(ctx, target, path) })
}

// further makes path another name of the file at target, where it is not yet
// linked, and has what the header says count for the file.
func (a *applier) further(target, path string, file *Entry, linked bool, h *tar.Header) error {
	label, err := a.relabelled(file, h)
	if err != nil {
		return err
	}
	changed := !sameMeta(&label, file) || label.Mtime != file.Mtime
	if changed {
		if a.tree != nil {
			if err := a.behind.drain(); err != nil { // the file may not be written yet
				return err
			}
		}
		*file = label
	}
	return a.later(func(t *treeWriter) error {
		var err error
		if !linked {
			err = t.link(target, path)
		}
		if changed && err == nil {
			err = t.relabel(path, &label)
		}
		return err
	})
}

// relabelled is a file with the metadata of a header that makes a further name
// of it, as with containerd. Attributes stay, but for the capability: changing
// the owner takes it away.
func (a *applier) relabelled(file *Entry, h *tar.Header) (Entry, error) {
	e := *file
	if !isID(h.Uid) || !isID(h.Gid) {
		return e, fmt.Errorf("owner %d:%d: %w", h.Uid, h.Gid, unix.EINVAL)
	}
	e.UID, e.GID, e.Mtime = h.Uid, h.Gid, a.mtime(h)
	if e.Type != Symlink {
		e.Mode = uint32(h.Mode & 0o7777)
	}
	e.Xattrs = xattrs(h, e.Type)
	given := e.Xattrs
	for _, x := range file.Xattrs {
		_, again := slices.BinarySearchFunc(given, x, compareXattrs)
		if !again && x.Name != capability {
			e.Xattrs = append(e.Xattrs, x)
		}
	}
	slices.SortFunc(e.Xattrs, compareXattrs)
	return e, nil
}

// whiteout removes what the layers below have at path.
func (a *applier) whiteout(parent *node, name, path string) error {
	if !isClean(path) {
		return fmt.Errorf("name of %d bytes: %w", len(path), unix.ENAMETOOLONG)
	}
	a.parent = nil
	child := parent.children[name]
	switch {
	case child == nil:
		parent.add(name, &node{})
		return a.later(func(t *treeWriter) error { return t.whiteout(path) })
	case child.dir():
		if child.implied {
			// What it got its metadata from is gone.
			child.implied = false
			child.entry.Mode, child.entry.UID, child.entry.GID, child.entry.Xattrs = 0o755, 0, 0, nil
		}
		return a.hide(child, path)
	}
	return nil
}

// opaque hides what the layers below have in a directory.
func (a *applier) opaque(dir string) error {
	n, path, err := a.directory(dir, 0)
	if err != nil {
		return err
	}
	return a.hide(n, path)
}

func (a *applier) hide(n *node, path string) error {
	if n.opaque {
		return nil
	}
	n.opaque = true
	if a.tree == nil || a.tree.style != WhiteoutsApplied {
		return nil
	}
	if err := a.behind.drain(); err != nil {
		return err
	}
	return a.tree.prune(path, n)
}
