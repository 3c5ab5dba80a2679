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

// comparePaths orders paths component-wise by bytes: a directory before what is
// in it, and in each directory what is gone first.
func comparePaths(a string, aGone bool, b string, bGone bool) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	if (aGone || bGone) && a != "" && b != "" {
		// They differ in this component, or one of them ends with it.
		component := strings.LastIndexByte(a[:n], '/') + 1
		aFirst := aGone && strings.IndexByte(a[component:], '/') < 0
		bFirst := bGone && strings.IndexByte(b[component:], '/') < 0
		switch {
		case aFirst && !bFirst:
			return -1
		case bFirst && !aFirst:
			return 1
		}
	}
	switch {
	case n == len(a) && n == len(b):
		return 0
	case n == len(a):
		return -1
	case n == len(b):
		return 1
	case a[n] == '/':
		return -1
	case b[n] == '/':
		return 1
	}
	return cmp.Compare(a[n], b[n])
}

// capability is the attribute that lets a program do what root may.
const capability = "security.capability"

// KeepXattr reports whether an extended attribute is part of a layer. Those of
// the host (labels, the overlay's marks) and of its administrator (trusted.*,
// which a step cannot set and a rootless build cannot read) are not.
func KeepXattr(name string) bool {
	switch {
	case strings.ContainsAny(name, "=\x00"):
		return false // not to be written as a PAX record
	case name == capability, name == "system.posix_acl_access", name == "system.posix_acl_default":
		return true
	default:
		return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
	}
}

// split returns the directory that path is in and its last component.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// join returns the path of name in dir.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// maxPath and maxName are Linux's limits: a longer path cannot be opened, a
// longer name not be made.
const (
	maxPath = 4095
	maxName = 255
)

// isClean reports whether path is relative, without empty, "." and ".."
// components, and within Linux's limits. The root is not.
func isClean(path string) bool {
	if path == "" || len(path) > maxPath {
		return false
	}
	start := 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			if path[i] == 0 {
				return false
			}
			continue
		}
		switch name := path[start:i]; {
		case name == "", name == ".", name == "..", len(name) > maxName:
			return false
		}
		start = i + 1
	}
	return true
}

func compareXattrs(a, b Xattr) int { return strings.Compare(a.Name, b.Name) }

const (
	whiteoutPrefix = ".wh."
	metaPrefix     = ".wh..wh."
	opaqueName     = ".wh..wh..opq"
)
