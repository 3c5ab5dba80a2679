package layer

import (
	"errors"
	"strings"

	"builder/internal/sys"
)

// cursor opens directories below a root one after the other. Neighbours share
// most of their path, so it keeps those that the last one is in open. It goes
// from name to name and never through a symbolic link.
type cursor struct {
	root sys.Dir
	path string
	open []level
}

type level struct {
	end   int // of the directory's path in cursor.path
	dir   sys.Dir
	alive bool
}

// maxOpen is how many directories a cursor keeps open.
const maxOpen = 64

func openCursor(dir string) (*cursor, error) {
	root, err := sys.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	return &cursor{root: root}, nil
}

// dir returns the directory at path. It stays open until the next call.
func (c *cursor) dir(path string) (sys.Dir, error) {
	if path == c.path && (path == "" || c.open[len(c.open)-1].alive) {
		return c.current(), nil
	}
	keep := len(c.open)
	for keep > 0 && !(c.open[keep-1].alive && isOrIsWithin(path, c.path[:c.open[keep-1].end])) {
		keep--
	}
	if err := c.drop(keep); err != nil {
		return sys.Dir{}, err
	}
	c.path = path
	for end := c.end(); end < len(path); end = c.end() {
		start := end
		if start > 0 {
			start++
		}
		next := len(path)
		if i := strings.IndexByte(path[start:], '/'); i >= 0 {
			next = start + i
		}
		sub, err := c.current().OpenDir(path[start:next])
		if err != nil {
			c.path = path[:end]
			return sys.Dir{}, err
		}
		c.open = append(c.open, level{next, sub, true})
		if i := len(c.open) - maxOpen; i > 0 && c.open[i-1].alive {
			c.open[i-1].alive = false
			if err := c.open[i-1].dir.Close(); err != nil {
				return sys.Dir{}, err
			}
		}
	}
	return c.current(), nil
}

func (c *cursor) end() int {
	if len(c.open) == 0 {
		return 0
	}
	return c.open[len(c.open)-1].end
}

func (c *cursor) current() sys.Dir {
	if len(c.open) == 0 {
		return c.root
	}
	return c.open[len(c.open)-1].dir
}

// drop closes all but the first keep directories.
func (c *cursor) drop(keep int) error {
	var failed error
	for _, l := range c.open[keep:] {
		if l.alive {
			failed = errors.Join(failed, l.dir.Close())
		}
	}
	c.open = c.open[:keep]
	c.path = c.path[:c.end()]
	return failed
}

// forget lets go of path and what is in it, which somebody is about to remove.
func (c *cursor) forget(path string) error {
	for i := range c.open {
		if c.path[:c.open[i].end] == path {
			return c.drop(i)
		}
	}
	return nil
}

func (c *cursor) close() error { return errors.Join(c.drop(0), c.root.Close()) }

func isOrIsWithin(path, dir string) bool { return path == dir || isWithin(path, dir) }
