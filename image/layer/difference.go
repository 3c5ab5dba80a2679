package layer

import (
	"path"
	"slices"
)

// Difference returns the layer that makes one tree of another: what is in above
// otherwise than in below, what below alone has as whiteouts, and the directories on
// the way. Times are no difference.
func Difference(below, above View) (*Index, error) {
	d := difference{below: below, above: above, taken: map[string]bool{}}
	d.directory("")
	for i := range d.entries {
		e := &d.entries[i]
		if e.Pyc != 0 {
			e.Pyc = 1 // it goes where its source goes
		}
		if e.Type == Hardlink && !d.taken[e.Link] {
			d.unlink(i)
		}
	}
	return NewIndex(d.entries)
}

type difference struct {
	below, above View
	entries      []Entry
	taken        map[string]bool
}

// directory compares what is in a directory that both trees have, and reports
// whether there is a difference.
func (d *difference) directory(dir string) bool {
	old, now := d.below.ReadDir(dir), d.above.ReadDir(dir)
	changed := false
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(old) > 0 && path.Base(old[0].Path) < path.Base(now[0].Path):
			d.entries = append(d.entries, Entry{Path: old[0].Path, Type: Whiteout})
			changed, old = true, old[1:]
		case len(old) == 0 || path.Base(now[0].Path) < path.Base(old[0].Path):
			d.all(now[0])
			changed, now = true, now[1:]
		default:
			changed = d.both(old[0], now[0]) || changed
			old, now = old[1:], now[1:]
		}
	}
	return changed
}

// both compares a path that both trees have.
func (d *difference) both(old, now Entry) bool {
	if now.Type != Dir || old.Type != Dir {
		if sameFile(&old, &now) {
			return false
		}
		d.all(now)
		return true
	}
	at := len(d.entries)
	own := !sameMetadata(&old, &now)
	now.Parent = !own
	d.entries = append(d.entries, now)
	changed := d.directory(now.Path)
	if !own && !changed {
		d.entries = d.entries[:at]
	}
	return own || changed
}

// all takes a path with all that is in it.
func (d *difference) all(e Entry) {
	e.Parent, e.Opaque = false, false
	d.entries = append(d.entries, e)
	d.taken[e.Path] = true
	if e.Type == Dir {
		for _, in := range d.above.ReadDir(e.Path) {
			d.all(in)
		}
	}
}

// unlink makes the entry at i a file of its own, and the other names of that file
// that were taken links to it: their first name is the same in both trees.
func (d *difference) unlink(i int) {
	first := d.entries[i].Link
	file, ok := d.above.Lookup(first)
	if !ok {
		return
	}
	e := &d.entries[i]
	name := e.Path
	*e = file
	e.Path, e.Link = name, ""
	for j := i + 1; j < len(d.entries); j++ {
		if other := &d.entries[j]; other.Type == Hardlink && other.Link == first {
			other.Link = name
		}
	}
	d.taken[name] = true
}

func sameMetadata(a, b *Entry) bool {
	return (a.Mode == b.Mode || a.Type == Symlink) && a.UID == b.UID && a.GID == b.GID && slices.Equal(a.Xattrs, b.Xattrs)
}

// sameFile compares what is no directory. A hard link counts as its file.
func sameFile(a, b *Entry) bool {
	kind := func(e *Entry) Type {
		if e.Type == Hardlink {
			return File
		}
		return e.Type
	}
	if kind(a) != kind(b) || !sameMetadata(a, b) {
		return false
	}
	switch kind(a) {
	case File:
		return a.Size == b.Size && a.Digest == b.Digest && (a.Type == Hardlink) == (b.Type == Hardlink) && (a.Type != Hardlink || a.Link == b.Link)
	case Symlink:
		return a.Link == b.Link
	case Char, Block:
		return a.Major == b.Major && a.Minor == b.Minor
	default:
		return true
	}
}
