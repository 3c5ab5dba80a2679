package layer

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links one path may pass through, as in Linux.
const maxLinks = 40

// place is a directory that a name in a tar leads to.
type place struct {
	path   string
	node   *node // nil: the layer has nothing there yet
	hidden bool  // what the layers below have in it does not count
}

func (p place) child(name string) *node {
	if p.node == nil {
		return nil
	}
	return p.node.children[name]
}

// resolve follows a path, which is clean, to a directory: through symbolic links
// of this layer and of those below, never out of the root. What does not exist
// is taken for a directory that is still to be made.
func (a *applier) resolve(path string) (place, error) {
	at := place{node: a.root, hidden: a.root.opaque}
	rest := path
	for links := 0; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			up, _ := split(at.path)
			at = a.descend(up)
			continue
		}
		next, link, err := a.step(at, name)
		if err != nil {
			return place{}, err
		}
		if link == "" {
			at = next
			continue
		}
		if links++; links > maxLinks || len(link)+len(rest) > 4*maxPath {
			return place{}, fmt.Errorf("%s: %w", next.path, unix.ELOOP)
		}
		rest = link + "/" + rest
		if strings.HasPrefix(link, "/") {
			at = place{node: a.root, hidden: a.root.opaque}
		}
	}
	if len(at.path) > maxPath {
		return place{}, fmt.Errorf("path of %d bytes: %w", len(at.path), unix.ENAMETOOLONG)
	}
	return at, nil
}

// descend returns the place of a path that is free of links.
func (a *applier) descend(path string) place {
	at := place{node: a.root, hidden: a.root.opaque}
	for path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		at = at.enter(name)
	}
	return at
}

// enter returns the directory called name in p.
func (p place) enter(name string) place {
	child := p.child(name)
	next := place{path: join(p.path, name), hidden: p.hidden}
	switch {
	case child == nil:
	case child.gone():
		next.hidden = true
	default:
		next.node = child
		next.hidden = p.hidden || child.opaque
	}
	return next
}

// step goes from at to name. Where a symbolic link stands there, link is its
// target.
func (a *applier) step(at place, name string) (next place, link string, err error) {
	next = at.enter(name)
	child := at.child(name)
	var e Entry
	switch {
	case child != nil && !child.gone():
		e = *child.entry
	case child != nil || at.hidden:
		return next, "", nil
	default:
		var ok bool
		if e, ok, err = a.below(next.path); err != nil || !ok {
			return next, "", err
		}
	}
	if e.Type == Hardlink {
		e = a.linked(e)
	}
	switch e.Type {
	case Dir:
		return next, "", nil
	case Symlink:
		return next, e.Link, nil
	default:
		return next, "", fmt.Errorf("%s: %w", next.path, unix.ENOTDIR)
	}
}

// linked returns the file that a hard link to a lower layer is a name of.
func (a *applier) linked(e Entry) Entry {
	for range 2 {
		if e.Type != Hardlink {
			break
		}
		target, ok, err := a.below(e.Link)
		if err != nil || !ok {
			break
		}
		e = target
	}
	return e
}

// below returns what the layers below have at path, as far as that is known.
func (a *applier) below(path string) (Entry, bool, error) {
	if a.o.Below != nil {
		e, ok := a.o.Below.Lookup(path)
		return e, ok, nil
	}
	if a.tree != nil && a.tree.style == WhiteoutsApplied {
		if err := a.behind.drain(); err != nil {
			return Entry{}, false, err
		}
		return a.tree.lookup(path)
	}
	return Entry{}, false, nil
}

// directory returns the directory that path, which is clean, leads to, and makes
// it and its parents where this layer does not have them.
func (a *applier) directory(path string, mtime int64) (*node, string, error) {
	if a.parent != nil && a.parentName == path {
		return a.parent, a.parentPath, nil
	}
	at, err := a.resolve(path)
	if err != nil {
		return nil, "", err
	}
	n, err := a.makeParents(at.path, mtime)
	if err != nil {
		return nil, "", err
	}
	a.parent, a.parentName, a.parentPath = n, path, at.path
	return n, at.path, nil
}

// makeParents returns the node of a directory. Those on the way that the layer
// does not have get the metadata that they have below.
func (a *applier) makeParents(path string, mtime int64) (*node, error) {
	n, hidden := a.root, a.root.opaque
	for end := 0; end < len(path); {
		start := end
		if start > 0 {
			start++
		}
		end = len(path)
		if i := strings.IndexByte(path[start:], '/'); i >= 0 {
			end = start + i
		}
		name := path[start:end]
		child := n.children[name]
		hidden = hidden || child != nil && (child.gone() || child.opaque)
		if child == nil || child.gone() {
			made, err := a.imply(path[:end], mtime, child != nil, hidden)
			if err != nil {
				return nil, err
			}
			n.add(name, made)
			child = made
		}
		n = child
	}
	return n, nil
}

// imply makes a directory that the tar has no entry for.
func (a *applier) imply(path string, mtime int64, wasGone, hidden bool) (*node, error) {
	if !isClean(path) {
		return nil, fmt.Errorf("name of %d bytes: %w", len(path), unix.ENAMETOOLONG)
	}
	if a.entries++; a.entries > a.o.MaxEntries {
		return nil, fmt.Errorf("more than %d entries: %w", a.o.MaxEntries, ErrLimit)
	}
	e := &Entry{Path: path, Type: Dir, Mode: 0o755, Mtime: min(mtime, a.latest)}
	if !hidden {
		below, ok, err := a.below(path)
		if err != nil {
			return nil, err
		}
		if ok && below.Type == Dir {
			e.Mode, e.UID, e.GID, e.Xattrs, e.Mtime = below.Mode, below.UID, below.GID, below.Xattrs, below.Mtime
		}
	}
	n := &node{entry: e, implied: !hidden, opaque: wasGone}
	return n, a.later(func(t *treeWriter) error { return t.mkdir(path) })
}
