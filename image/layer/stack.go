package layer

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// View is the metadata of a tree. It can be used by many goroutines.
type View interface {
	// Lookup returns what stands at path, which is clean and relative; no symbolic
	// link is followed. The root, "", is always there. A Hardlink has the metadata
	// of its first name, which is there too, and is a regular file: a further name of
	// anything else is shown as another one of its kind. Nothing is a Whiteout, Opaque or Parent.
	Lookup(path string) (Entry, bool)
	// ReadDir returns what is in the directory at path, by name, and nothing where
	// there is no directory.
	ReadDir(path string) []Entry
}

// Stack is the tree that layers make of one another. It looks into each of them
// and keeps no merged copy.
type Stack struct {
	layers []*Index

	last atomic.Pointer[directory] // the one that was asked for last

	groups sync.Map // of linkGroup: the names in order, once the first one has gone
}

var _ View = (*Stack)(nil)

// NewStack returns the tree of the layers, the lowest first.
func NewStack(lowestFirst ...*Index) *Stack {
	return &Stack{layers: slices.Clone(lowestFirst)}
}

// Len returns the number of layers.
func (s *Stack) Len() int { return len(s.layers) }

// Lookup implements [View].
func (s *Stack) Lookup(path string) (Entry, bool) {
	if path == "" {
		return s.root().entry, true
	}
	dir, _ := split(path)
	f := s.directory(dir).find(path)
	if f.index == nil {
		return Entry{}, false
	}
	return s.resolve(f), true
}

// ReadDir implements [View].
func (s *Stack) ReadDir(path string) []Entry {
	dir := s.directory(path)
	if len(dir.spans) == 0 {
		return nil
	}
	paths := dir.paths()
	entries := make([]Entry, 0, len(paths))
	for _, p := range paths {
		if f := dir.find(p); f.index != nil {
			entries = append(entries, s.resolve(f))
		}
	}
	return entries
}

// Layer returns the number, from 0 for the lowest, of the layer in whose
// directory or tar the file at path stands.
func (s *Stack) Layer(path string) (i int, ok bool) {
	if path == "" {
		return 0, false
	}
	dir, _ := split(path)
	f := s.directory(dir).find(path)
	return f.layer, f.index != nil
}

// span is a directory's part of one layer: the entries from lo to hi.
type span struct {
	index  *Index
	ends   []int32
	layer  int
	lo, hi int32
}

// directory is a directory of the tree: where its entries are, topmost layer
// first. One that does not exist has no spans and no entry.
type directory struct {
	path  string
	entry Entry
	spans []span
}

// found is what stands at a path: an entry of a layer.
type found struct {
	index *Index // nil: nothing
	layer int
	entry Entry
	spans []span // of a directory
}

func (s *Stack) root() *directory {
	d := &directory{entry: Entry{Type: Dir, Mode: 0o755}}
	for i := len(s.layers) - 1; i >= 0; i-- {
		x := s.layers[i]
		lo := int32(0)
		opaque := false
		if len(x.Entries) > 0 && x.Entries[0].Path == "" {
			lo, opaque = 1, x.Entries[0].Opaque
		}
		if hi := int32(len(x.Entries)); lo < hi {
			d.spans = append(d.spans, span{index: x, ends: x.tails(), layer: i, lo: lo, hi: hi})
		}
		if opaque {
			break
		}
	}
	return d
}

// directory returns the directory at path.
func (s *Stack) directory(path string) *directory {
	if d := s.last.Load(); d != nil && d.path == path {
		return d
	}
	d := s.walk(path)
	s.last.Store(d)
	return d
}

func (s *Stack) walk(path string) *directory {
	if d := s.last.Load(); d != nil && d.path == path {
		return d
	}
	if path == "" {
		return s.root()
	}
	parent, _ := split(path)
	f := s.walk(parent).find(path)
	if f.index == nil || f.entry.Type != Dir {
		return &directory{path: path}
	}
	return &directory{path: path, entry: f.entry, spans: f.spans}
}

// find returns what stands at path, which is in d.
func (d *directory) find(path string) found {
	var f found
	settled, hidden := false, false
	for i := range d.spans {
		sp := &d.spans[i]
		n, ok := sp.search(path, false)
		if !ok {
			if _, gone := sp.search(path, true); gone {
				return f
			}
			continue
		}
		e := &sp.index.Entries[n]
		switch {
		case f.index == nil:
			f.index, f.layer, f.entry = sp.index, sp.layer, *e
			if e.Type != Dir {
				return f
			}
			f.entry.Opaque, f.entry.Parent = false, false
		case e.Type != Dir:
			return f
		case !settled:
			// What stands above is there only for what is in it.
			f.entry.Mode, f.entry.UID, f.entry.GID = e.Mode, e.UID, e.GID
			f.entry.Xattrs, f.entry.Mtime = e.Xattrs, e.Mtime
		}
		settled = settled || !e.Parent
		if !hidden && int32(n+1) < sp.ends[n] {
			f.spans = append(f.spans, span{index: sp.index, ends: sp.ends, layer: sp.layer, lo: int32(n + 1), hi: sp.ends[n]})
		}
		hidden = hidden || e.Opaque
		if hidden && settled {
			return f
		}
	}
	return f
}

// search returns where in the span the entry, or the whiteout, of path is.
func (sp *span) search(path string, gone bool) (int, bool) {
	lo, hi := int(sp.lo), int(sp.hi)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		e := &sp.index.Entries[mid]
		if comparePaths(e.Path, e.Type == Whiteout, path, gone) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == int(sp.hi) {
		return lo, false
	}
	e := &sp.index.Entries[lo]
	return lo, e.Path == path && (e.Type == Whiteout) == gone
}

// paths returns the paths in d that some layer has an entry for, by name.
func (d *directory) paths() []string {
	var paths []string
	for i := range d.spans {
		sp := &d.spans[i]
		for n := sp.lo; n < sp.hi; n = sp.ends[n] {
			if e := &sp.index.Entries[n]; e.Type != Whiteout {
				paths = append(paths, e.Path)
			}
		}
	}
	if len(d.spans) > 1 {
		slices.Sort(paths)
		paths = slices.Compact(paths)
	}
	return paths
}

// resolve returns the entry of f as a [View] shows it.
func (s *Stack) resolve(f found) Entry {
	if f.entry.Type != Hardlink {
		return f.entry
	}
	n, ok := f.index.search(f.entry.Link, false)
	if !ok {
		return s.resolveBelow(f)
	}
	if first := f.index.Entries[n]; first.Type != File {
		first.Path = f.entry.Path
		return first
	}
	if s.stands(f.entry.Link, f.layer) {
		return f.entry
	}
	// The first name is gone or is another file now: the next one takes its place.
	for _, path := range s.names(f.layer, f.entry.Link) {
		if !s.stands(path, f.layer) {
			continue
		}
		if path != f.entry.Path {
			f.entry.Link = path
			return f.entry
		}
		break
	}
	first := f.index.Entries[n]
	first.Path = f.entry.Path
	return first
}

// resolveBelow returns the entry of a hard link to a file of a lower layer: in
// its own layer it is a file of its own.
func (s *Stack) resolveBelow(f found) Entry {
	below := &Stack{layers: s.layers[:f.layer]}
	target, ok := below.Lookup(f.entry.Link)
	if !ok || target.Type == Dir {
		return f.entry
	}
	if target.Type == Hardlink {
		link := target.Link
		if target, ok = below.Lookup(link); !ok {
			return f.entry
		}
	}
	target.Path = f.entry.Path
	return target
}

// stands reports whether path is what the layer says.
func (s *Stack) stands(path string, layer int) bool {
	i, ok := s.Layer(path)
	return ok && i == layer
}

type linkGroup struct {
	layer int
	first string
}

// names returns the other names, in order, of a file of a layer.
func (s *Stack) names(layer int, first string) []string {
	key := linkGroup{layer, first}
	if names, ok := s.groups.Load(key); ok {
		return names.([]string)
	}
	var names []string
	for i := range s.layers[layer].Entries {
		if e := &s.layers[layer].Entries[i]; e.Type == Hardlink && e.Link == first {
			names = append(names, strings.Clone(e.Path))
		}
	}
	s.groups.Store(key, names)
	return names
}
