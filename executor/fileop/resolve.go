package fileop

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"builder/image/layer"
)

// maxLinks is how many symbolic links one path may lead through.
const maxLinks = 255

var errTooManyLinks = errors.New("too many symbolic links")

// resolve returns the path that name leads to in a tree: relative, clean and
// free of links. What does not exist leads to itself. A link's target is cleaned
// as text before it is looked at, as BuildKit does: "link/.." is where the link
// stands.
func resolve(lookup func(string) (layer.Entry, bool), name string) (string, error) {
	rest := rooted(name)
	done := ""
	for links := 0; rest != ""; {
		first, after, _ := strings.Cut(rest, "/")
		here := join(done, first)
		e, ok := lookup(here)
		switch {
		case !ok:
			return join(here, after), nil
		case e.Type == layer.Symlink:
			if links++; links > maxLinks {
				return "", &fs.PathError{Op: "resolve", Path: "/" + here, Err: errTooManyLinks}
			}
			done, rest = "", rooted(path.Join(target(done, e.Link), after))
		case e.Type != layer.Dir && after != "":
			return "", &fs.PathError{Op: "lstat", Path: "/" + join(here, after), Err: syscall.ENOTDIR}
		default:
			done, rest = here, after
		}
	}
	return done, nil
}

// isLink reports whether what p names, behind the links on the way to it, is a link.
func isLink(src layer.View, p string) bool {
	dir, err := resolve(src.Lookup, parent(p))
	if err != nil {
		return false
	}
	e, ok := src.Lookup(join(dir, path.Base("/"+p)))
	return ok && e.Type == layer.Symlink
}

// target returns where a link in the directory dir points, from the root.
func target(dir, link string) string {
	if path.IsAbs(link) {
		return path.Clean(link)
	}
	return path.Join("/", dir, link)
}

// rooted returns name as a clean path relative to the root. No ".." leads above it.
func rooted(name string) string { return path.Join("/", name)[1:] }

func join(dir, name string) string {
	switch {
	case dir == "":
		return name
	case name == "":
		return dir
	}
	return dir + "/" + name
}

// parent returns the directory that the clean relative path name is in.
func parent(name string) string {
	return name[:max(strings.LastIndexByte(name, '/'), 0)]
}
