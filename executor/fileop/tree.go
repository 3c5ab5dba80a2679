package fileop

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"builder/image/layer"
)

// tree is the destination while it is changed: what was written or looked at,
// over a stack that never changes.
type tree struct {
	below *layer.Stack
	root  *node
	now   int64
	keep  bool // the times of what is put there
	count int  // how many nodes there are at most
}

// node is one path of the tree.
type node struct {
	entry layer.Entry // without Path; a file with several names is a File here
	data  data        // of a file that was written
	// made says that the path was written, whatever was there before.
	made bool
	// meta says that a directory which is in the tree below got other metadata.
	meta bool
	// through is set for a directory that shows the tree below at path.
	through bool
	path    string           // of a directory, and of what has not been made
	kids    map[string]*node // nil for what is not there
	names   *names           // the other names of this file
}

// names is a file that has several names.
type names struct {
	nodes []*node
	first string // while an index is made
}

func newTree(below *layer.Stack, now int64) *tree {
	e, _ := below.Lookup("")
	e.Type = layer.Dir
	return &tree{below: below, now: now, root: &node{entry: e, through: true}}
}

// child returns what name is in dir, or nil.
func (t *tree) child(dir *node, name string) *node {
	if n, ok := dir.kids[name]; ok || !dir.through {
		return n
	}
	p := join(dir.path, name)
	e, ok := t.below.Lookup(p)
	if !ok {
		return nil
	}
	if e.Type == layer.Hardlink {
		e.Type, e.Link = layer.File, ""
	}
	n := &node{entry: e, through: e.Type == layer.Dir, path: p}
	t.count++
	dir.set(name, n)
	return n
}

func (n *node) set(name string, kid *node) {
	if n.kids == nil {
		n.kids = map[string]*node{}
	}
	n.kids[name] = kid
}

func (n *node) isDir() bool { return n != nil && n.entry.Type == layer.Dir }

// find returns what stands at a path free of links, or nil.
func (t *tree) find(p string) *node {
	n := t.root
	for p != "" && n.isDir() {
		var name string
		name, p, _ = strings.Cut(p, "/")
		n = t.child(n, name)
	}
	if p != "" {
		return nil
	}
	return n
}

// lookup is [layer.View.Lookup] on the changed tree.
func (t *tree) lookup(p string) (layer.Entry, bool) {
	n := t.find(p)
	if n == nil {
		return layer.Entry{}, false
	}
	return n.entry, true
}

// put writes e to name in dir, in the place of whatever is there.
func (t *tree) put(dir *node, name string, e layer.Entry, from data) *node {
	e.Path, e.Opaque, e.Parent = "", false, false
	if !t.keep || e.Mtime <= 0 || e.Mtime > t.now {
		e.Mtime = t.now
	}
	if e.Type != layer.Symlink {
		e.Link = ""
	}
	n := &node{entry: e, data: from, made: true}
	t.count++
	if e.Type == layer.Dir {
		n.path = join(dir.path, name)
	}
	dir.set(name, n)
	return n
}

// link makes name in dir another name of the file to.
func (t *tree) link(dir *node, name string, to *node) *node {
	if to.names == nil {
		to.names = &names{nodes: []*node{to}}
	}
	n := &node{entry: to.entry, data: to.data, made: true, names: to.names}
	t.count++
	to.names.nodes = append(to.names.nodes, n)
	dir.set(name, n)
	return n
}

// mkdirAll makes the directories of a path free of links that are missing. They
// belong to the owner or, without one, to root and the group that a setgid
// directory hands down.
func (t *tree) mkdirAll(p string, mode uint32, own *owner) (*node, error) {
	n := t.root
	for rest := p; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		next := t.child(n, name)
		if next == nil {
			next = t.mkdir(n, name, mode, own)
		}
		if !next.isDir() {
			return nil, &fs.PathError{Op: "mkdir", Path: "/" + p, Err: syscall.ENOTDIR}
		}
		n = next
	}
	return n, nil
}

func (t *tree) mkdir(dir *node, name string, mode uint32, own *owner) *node {
	e := layer.Entry{Type: layer.Dir, Mode: mode}
	if dir.entry.Mode&syscall.S_ISGID != 0 {
		e.Mode |= syscall.S_ISGID
		e.GID = dir.entry.GID
	}
	if own != nil {
		e.UID, e.GID = own.uid, own.gid
	}
	return t.put(dir, name, e, nil)
}

// emitter turns a changed tree into the entries of a layer.
type emitter struct {
	tree    *tree
	own     func(path string) bool
	entries []layer.Entry
	data    map[string]data
}

// emit appends what changed in dir and reports whether one of its own names did.
func (e *emitter) emit(dir *node) (direct bool) {
	for _, name := range slices.Sorted(maps.Keys(dir.kids)) {
		p := join(dir.path, name)
		n := dir.kids[name]
		var was layer.Entry
		var existed bool
		if dir.through {
			was, existed = e.tree.below.Lookup(p)
		}
		switch {
		case n == nil:
			if existed {
				e.entries = append(e.entries, layer.Entry{Path: p, Type: layer.Whiteout})
				direct = true
			}
		case n.isDir():
			direct = e.emitDir(n, p, was, existed) || direct
		case n.made:
			direct = e.emitFile(n, p) || direct
		}
	}
	return direct
}

// emitDir reports whether the directory is new where it stands.
func (e *emitter) emitDir(n *node, p string, was layer.Entry, existed bool) bool {
	entry := n.entry
	entry.Path = p
	entry.Opaque = n.made && existed && was.Type == layer.Dir
	changed := n.made || n.meta && !sameMeta(&entry, &was)
	entry.Parent = !changed
	at := len(e.entries)
	e.entries = append(e.entries, entry)
	direct := e.emit(n)
	if direct && !changed {
		e.entries[at].Mtime = e.tree.now
	}
	if !changed && len(e.entries) == at+1 {
		e.entries = e.entries[:at]
	}
	return n.made
}

func (e *emitter) emitFile(n *node, p string) bool {
	entry := n.entry
	entry.Path = p
	if n.names != nil && n.names.first != "" {
		entry.Type, entry.Link = layer.Hardlink, n.names.first
		e.entries = append(e.entries, entry)
		return true
	}
	if n.names != nil {
		n.names.first = p
	}
	if entry.Type == layer.File {
		e.data[p] = n.data
	}
	e.entries = append(e.entries, entry)
	return true
}

// settle forgets what was written equal to what an earlier step of the same
// build put there. A file with several names is forgotten if it had them all.
func (e *emitter) settle() {
	files := map[*names]*settled{}
	e.settleDir(e.tree.root, files)
	for names, s := range files {
		if s.equal != len(names.nodes) {
			continue
		}
		for _, n := range names.nodes {
			n.made = false
		}
	}
}

// settled is what is known of a file with several names: how many of them lead
// to one file already, and its first name.
type settled struct {
	equal int
	first string
}

func (e *emitter) settleDir(dir *node, files map[*names]*settled) {
	if !dir.through {
		return
	}
	for name, n := range dir.kids {
		p := join(dir.path, name)
		switch {
		case n.isDir():
			e.settleDir(n, files)
		case n == nil || !n.made:
		case n.names == nil || len(n.names.nodes) == 1:
			was, ok := e.equal(n, p)
			n.made = !ok || was.Type == layer.Hardlink
		default:
			s := files[n.names]
			if s == nil {
				s = &settled{}
				files[n.names] = s
			}
			was, ok := e.equal(n, p)
			if was.Type == layer.Hardlink {
				p = was.Link
			}
			linked := s.first == "" || s.first == p || n.entry.Type != layer.File // views do not show other groups
			if ok && linked {
				s.equal++
				s.first = p
			}
		}
	}
}

// equal reports whether the build already put n at p, and what is there.
func (e *emitter) equal(n *node, p string) (was layer.Entry, ok bool) {
	was, ok = e.tree.below.Lookup(p)
	if !ok || !e.own(p) || !sameMeta(&n.entry, &was) {
		return was, false
	}
	switch was.Type {
	case layer.File, layer.Hardlink:
		ok = n.entry.Type == layer.File && was.Size == n.entry.Size && was.Digest == n.entry.Digest && was.Pyc == n.entry.Pyc
	case layer.Symlink:
		ok = n.entry.Type == layer.Symlink && was.Link == n.entry.Link
	case layer.Char, layer.Block:
		ok = n.entry.Type == was.Type && was.Major == n.entry.Major && was.Minor == n.entry.Minor
	default:
		ok = n.entry.Type == was.Type
	}
	return was, ok
}

// sameMeta compares modes, owners and attributes.
func sameMeta(a, b *layer.Entry) bool {
	return (a.Mode == b.Mode || a.Type == layer.Symlink) && a.UID == b.UID && a.GID == b.GID && slices.Equal(a.Xattrs, b.Xattrs)
}

// setXattrs adds attributes to e, over those of the same names.
func setXattrs(e *layer.Entry, more []layer.Xattr) {
	if len(more) == 0 {
		return
	}
	all := map[string]string{}
	for _, x := range e.Xattrs {
		all[x.Name] = x.Value
	}
	for _, x := range more {
		all[x.Name] = x.Value
	}
	e.Xattrs = nil
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e.Xattrs = append(e.Xattrs, layer.Xattr{Name: name, Value: all[name]})
	}
}

// removeAll takes away what is at name in dir.
func (t *tree) removeAll(dir *node, name string) { dir.set(name, nil) }

// walk returns the directory that p's parent is in a tree whose root is top, as the
// kernel resolves it there, and p's last component, which is not followed.
func (t *tree) walk(top *node, p string) (*node, string, error) {
	var stack []*node // the directories above at, within top
	at := top
	rest := rooted(p)
	for links := 0; ; {
		first, after, more := strings.Cut(rest, "/")
		switch {
		case first == "" && more, first == ".":
			rest = after
			continue
		case first == "..":
			if len(stack) > 0 {
				at, stack = stack[len(stack)-1], stack[:len(stack)-1]
			}
			rest = after
			continue
		case !more:
			return at, first, nil
		}
		n := t.child(at, first)
		switch {
		case n == nil:
			return nil, "", &fs.PathError{Op: "open", Path: "/" + p, Err: syscall.ENOENT}
		case n.isDir():
			stack, at, rest = append(stack, at), n, after
		case n.entry.Type != layer.Symlink:
			return nil, "", &fs.PathError{Op: "open", Path: "/" + p, Err: syscall.ENOTDIR}
		default:
			if links++; links > maxLinks {
				return nil, "", &fs.PathError{Op: "open", Path: "/" + p, Err: errTooManyLinks}
			}
			if path.IsAbs(n.entry.Link) {
				at, stack = top, nil
			}
			rest = strings.Trim(n.entry.Link, "/") + "/" + after
		}
	}
}
