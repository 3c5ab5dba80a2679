package layer

import (
	"cmp"
	"strings"
)

// Type is what stands at a path.
type Type uint8

// The types of an entry. Sockets are no part of a layer.
const (
	Dir Type = iota + 1
	File
	Symlink
	Hardlink
	Char
	Block
	Fifo
	Whiteout // a path of the layers below that is gone
)

// Xattr is one extended attribute.
type Xattr struct{ Name, Value string }

// Entry is one path of a layer.
//
// A Hardlink repeats the metadata, size and digest of its first name, where that
// is in the same layer; where it is not, a [Stack] fills them in.
type Entry struct {
	Path     string // relative and clean; for a Whiteout the path that is gone
	Type     Type
	Mode     uint32 // permission, setuid, setgid and sticky bits: 07777
	UID, GID int
	Size     int64    // of a File, in bytes
	Mtime    int64    // nanoseconds since 1970, as in the tree or the foreign tar; no part of the content
	Link     string   // a Symlink's target, or the path of a Hardlink's first name
	Major    uint32   // of a Char or Block
	Minor    uint32   // of a Char or Block
	Xattrs   []Xattr  // by name; only those of which KeepXattr approves
	Digest   [32]byte // SHA-256 of a File's bytes; where Pyc is set, with the time in its header zeroed
	Opaque   bool     // a Dir that hides what the layers below have in it
	Parent   bool     // a Dir that is here only because something in it is
	// Pyc is 0 but for a compiled Python file whose header repeats the mtime of a
	// source in a layer made here: then it is 1 + the number of places which that
	// layer lies below this one.
	Pyc uint8
}

// Compare orders entries as they stand in a tar in normal form.
func Compare(a, b *Entry) int {
	return comparePaths(a.Path, a.Type == Whiteout, b.Path, b.Type == Whiteout)
}

// comparePaths orders paths component-wise by bytes, a directory before what is
// in it and whiteouts before their siblings.
func comparePaths(a string, aGone bool, b string, bGone bool) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	restA, restB := a[n:], b[n:]
	if restA == "" && restB == "" {
		return rank(bGone) - rank(aGone)
	}
	if aGone != bGone {
		// A whiteout precedes every sibling and what is in them, but nothing that
		// stands in another directory.
		lastA := aGone && !strings.Contains(restA, "/")
		lastB := bGone && !strings.Contains(restB, "/")
		// The parent of one being a prefix of the other matters only while both
		// differ within one directory.
		switch {
		case lastA && within(a, b):
			return -1
		case lastB && within(b, a):
			return 1
		}
	}
	switch {
	case restA == "":
		return -1
	case restB == "":
		return 1
	}
	return cmp.Compare(key(restA[0]), key(restB[0]))
}

// within reports whether path stands somewhere in the directory that gone, a
// whiteout, is in.
func within(gone, path string) bool {
	dir := gone[:strings.LastIndexByte(gone, '/')+1]
	return len(path) >= len(dir) && path[:len(dir)] == dir
}

func key(c byte) byte {
	if c == '/' {
		return 0
	}
	return c
}

func rank(gone bool) int {
	if gone {
		return 1
	}
	return 0
}

// KeepXattr reports whether an extended attribute is part of a layer. Those of
// the host (labels, the overlay's marks) and of its administrator (trusted.*,
// which a step cannot set and a rootless build cannot read) are not.
func KeepXattr(name string) bool {
	switch {
	case strings.ContainsAny(name, "=\x00"):
		return false // not to be written as a PAX record
	case name == "security.capability", name == "system.posix_acl_access", name == "system.posix_acl_default":
		return true
	default:
		return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
	}
}
