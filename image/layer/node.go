package layer

import (
	"maps"
	"slices"
)

// node is a name of a layer that is being read. Names of one file share its
// entry.
type node struct {
	entry    *Entry // nil: a whiteout
	children map[string]*node
	implied  bool // a directory that the tar has no entry for
	opaque   bool
}

func (n *node) gone() bool { return n.entry == nil }

func (n *node) dir() bool { return n.entry != nil && n.entry.Type == Dir }

// add puts a child into a directory.
func (n *node) add(name string, child *node) {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[name] = child
}

// index lists the tree below n in normal form.
func (n *node) index() *Index {
	w := nodeLister{first: map[*Entry]int{}}
	if n.opaque {
		w.entries = append(w.entries, Entry{Type: Dir, Mode: 0o755, Opaque: true, Parent: true})
	}
	w.list("", n)
	return &Index{Entries: w.entries}
}

// nodeLister lists nodes. It knows the first name of each file.
type nodeLister struct {
	entries []Entry
	first   map[*Entry]int
}

func (w *nodeLister) list(dir string, n *node) {
	names := slices.Sorted(maps.Keys(n.children))
	for _, name := range names {
		if n.children[name].gone() {
			w.entries = append(w.entries, Entry{Path: join(dir, name), Type: Whiteout})
		}
	}
	for _, name := range names {
		if child := n.children[name]; !child.gone() {
			w.one(join(dir, name), child)
		}
	}
}

func (w *nodeLister) one(path string, n *node) {
	if i, ok := w.first[n.entry]; ok {
		w.entries = append(w.entries, linkTo(path, &w.entries[i]))
		return
	}
	e := *n.entry
	e.Path = path
	if e.Type == Dir {
		e.Parent, e.Opaque = n.implied, n.opaque
		w.entries = append(w.entries, e)
		w.list(path, n)
		return
	}
	if e.Type != Hardlink { // to a lower layer: its names are no links of each other here
		w.first[n.entry] = len(w.entries)
	}
	w.entries = append(w.entries, e)
}
