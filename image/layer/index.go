package layer

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"builder/image"
)

// Index is what a layer holds, in normal form. It is not changed once it is
// made, and may be used by many goroutines.
type Index struct {
	Entries []Entry
	// Retold is set by [Scan] where the directory holds files that the index takes
	// for whiteouts: a tree made of the index is another one. It is not encoded.
	Retold bool

	ends atomic.Pointer[[]int32]
}

// NewIndex returns the index of entries in any order, which it takes over. Paths
// must be clean and different, each in a directory that is among them or the
// root. Of the names that share a file the first in order becomes the file, the
// others become hard links to it. A file with the name of a whiteout becomes one.
func NewIndex(entries []Entry) (*Index, error) {
	entries, err := takeWhiteouts(entries)
	if err != nil {
		return nil, err
	}
	if !slices.IsSortedFunc(entries, compare) {
		slices.SortFunc(entries, compare)
	}
	x := &Index{Entries: entries}
	if err := x.relink(); err != nil {
		return nil, err
	}
	if err := x.check(); err != nil {
		return nil, err
	}
	return x, nil
}

func compare(a, b Entry) int { return Compare(&a, &b) }

// relink makes the first name of each file the file and gives the other names
// its metadata.
func (x *Index) relink() error {
	first := map[int]int{} // the entry that is the file now: its first name in order
	for i := range x.Entries {
		if x.Entries[i].Type != Hardlink {
			continue
		}
		file, err := x.file(i)
		if err != nil {
			return err
		}
		if file < 0 {
			continue
		}
		if f, ok := first[file]; !ok {
			first[file] = min(i, file)
		} else {
			first[file] = min(i, f)
		}
	}
	for file, f := range first {
		if f != file {
			x.rename(file, f)
		}
	}
	for i := range x.Entries {
		if e := &x.Entries[i]; e.Type == Hardlink {
			if file, err := x.file(i); err == nil && file >= 0 {
				*e = linkTo(e.Path, &x.Entries[file])
			}
		}
	}
	return nil
}

// rename makes entry f, a hard link, the file that entry file is now.
func (x *Index) rename(file, f int) {
	moved := x.Entries[file]
	oldPath, newPath := moved.Path, x.Entries[f].Path
	moved.Path = newPath
	x.Entries[f] = moved
	x.Entries[file] = Entry{Path: oldPath, Type: Hardlink, Link: newPath}
}

// file follows hard links from entry i to the entry that is the file, or
// returns -1 where that is in a lower layer.
func (x *Index) file(i int) (int, error) {
	for range 64 {
		target, ok := x.search(x.Entries[i].Link, false)
		if !ok {
			return -1, nil
		}
		switch x.Entries[target].Type {
		case Hardlink:
			i = target
		case Dir:
			return 0, fmt.Errorf("hard link %q to the directory %q", x.Entries[i].Path, x.Entries[target].Path)
		default:
			return target, nil
		}
	}
	return 0, fmt.Errorf("hard link %q leads through too many others", x.Entries[i].Path)
}

// linkTo returns the entry of another name of a file.
func linkTo(path string, file *Entry) Entry {
	e := *file
	e.Path, e.Type, e.Link = path, Hardlink, file.Path
	return e
}

// check reports what keeps the entries from being in normal form.
func (x *Index) check() error {
	var open []string // the directories that the entry is in, outermost first
	for i := range x.Entries {
		e := &x.Entries[i]
		if i > 0 && Compare(&x.Entries[i-1], e) >= 0 {
			return fmt.Errorf("path %q stands twice, or in the wrong place", e.Path)
		}
		if e.Path == "" && e.Type == Dir {
			continue
		}
		if !isClean(e.Path) {
			return fmt.Errorf("path %q is not clean", e.Path)
		}
		dir, name := split(e.Path)
		if strings.HasPrefix(name, whiteoutPrefix) {
			return fmt.Errorf("path %q has the name of a whiteout", e.Path)
		}
		for len(open) > 0 && open[len(open)-1] != dir {
			open = open[:len(open)-1]
		}
		if len(open) == 0 && dir != "" {
			return fmt.Errorf("path %q is in no directory of the layer", e.Path)
		}
		switch e.Type {
		case Dir:
			open = append(open, e.Path)
		case File, Symlink, Hardlink, Char, Block, Fifo, Whiteout:
		default:
			return fmt.Errorf("path %q has the unknown type %d", e.Path, e.Type)
		}
	}
	return nil
}

// Find returns the entry at path, be it a Whiteout.
func (x *Index) Find(path string) (Entry, bool) {
	i, ok := x.search(path, false)
	if !ok {
		i, ok = x.search(path, true)
	}
	if !ok {
		return Entry{}, false
	}
	return x.Entries[i], true
}

// search returns where the entry, or the whiteout, of path is.
func (x *Index) search(path string, gone bool) (int, bool) {
	i := sort.Search(len(x.Entries), func(i int) bool {
		e := &x.Entries[i]
		return comparePaths(e.Path, e.Type == Whiteout, path, gone) >= 0
	})
	return i, i < len(x.Entries) && x.Entries[i].Path == path && (x.Entries[i].Type == Whiteout) == gone
}

// tails returns, for each entry, the number of the first entry after it that is
// not in it.
func (x *Index) tails() []int32 {
	if p := x.ends.Load(); p != nil {
		return *p
	}
	ends := make([]int32, len(x.Entries))
	var open []int
	closeUntil := func(next int, within func(dir string) bool) {
		for len(open) > 0 && !within(x.Entries[open[len(open)-1]].Path) {
			ends[open[len(open)-1]] = int32(next)
			open = open[:len(open)-1]
		}
	}
	for i := range x.Entries {
		path := x.Entries[i].Path
		closeUntil(i, func(dir string) bool { return isWithin(path, dir) })
		ends[i] = int32(i + 1)
		if x.Entries[i].Type == Dir && path != "" {
			open = append(open, i)
		}
	}
	closeUntil(len(x.Entries), func(string) bool { return false })
	x.ends.Store(&ends)
	return ends
}

// isWithin reports whether path is below dir, which is not the root.
func isWithin(path, dir string) bool {
	return len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// contentVersion names the encoding that [Index.Content] hashes. Another
// encoding is another version: every layer gets another identity with it.
const contentVersion = "layer content 1\n"

// Content returns the digest of what the layer holds. Times are left out, and
// whether a directory is there for its own sake.
func (x *Index) Content() image.ContentDigest {
	h := sha256.New()
	buf := append(make([]byte, 0, 32<<10), contentVersion...)
	buf = binary.AppendUvarint(buf, uint64(len(x.Entries)))
	for i := range x.Entries {
		buf = x.Entries[i].appendContent(buf)
		if len(buf) > 28<<10 {
			h.Write(buf)
			buf = buf[:0]
		}
	}
	h.Write(buf)
	return image.ContentDigest(h.Sum(nil))
}

// appendContent appends the fields that make the entry what it is, each with its
// length.
func (e *Entry) appendContent(b []byte) []byte {
	b = append(b, byte(e.Type))
	b = appendString(b, e.Path)
	switch e.Type {
	case Whiteout:
		return b
	case Hardlink:
		return appendString(b, e.Link)
	}
	b = binary.AppendUvarint(b, uint64(e.Mode))
	b = binary.AppendUvarint(b, uint64(e.UID))
	b = binary.AppendUvarint(b, uint64(e.GID))
	switch e.Type {
	case File:
		b = binary.AppendUvarint(b, uint64(e.Size))
		b = append(b, e.Digest[:]...)
		b = append(b, e.Pyc)
	case Symlink:
		b = appendString(b, e.Link)
	case Char, Block:
		b = binary.AppendUvarint(b, uint64(e.Major))
		b = binary.AppendUvarint(b, uint64(e.Minor))
	case Dir:
		b = append(b, flag(e.Opaque, 1))
	}
	return appendXattrs(b, e.Xattrs)
}

func appendXattrs(b []byte, list []Xattr) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, x := range list {
		b = appendString(b, x.Name)
		b = appendString(b, x.Value)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}
