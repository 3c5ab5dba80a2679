package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"builder/image/layer"
	"builder/internal/sys"
)

// Stat is the state of a regular file without attributes. Two equal ones, seen
// at different times, are taken for one content if they were not young.
type Stat struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64 // nanoseconds since 1970
}

// Digests remembers the digests of files between builds. It can be used by many
// goroutines.
type Digests interface {
	Lookup(Stat) (digest [32]byte, ok bool)
	Store(Stat, [32]byte)
}

// Context is a build context: a [layer.View] of a directory and a
// [layer.Source] of its files. It can be used by many goroutines; what it has
// read once stays as it was.
type Context struct {
	name   string // the directory, as the user calls it
	root   sys.Dir
	ignore *ignore
	known  Digests
	owners bool // of the files, instead of root
	start  time.Time
	top    *directory

	mu     sync.Mutex
	err    error
	names  map[inode]string // the first name seen of files that have several
	hashed map[string]hashed

	hashing sync.Mutex // one batch at a time, so that two steps do not hash the same
	stop    func() bool
}

var (
	_ layer.View   = (*Context)(nil)
	_ layer.Source = (*Context)(nil)
)

type inode struct{ dev, ino uint64 }

// directory is a directory of the context. path, match and excluded do not change;
// the rest is there once it is loaded.
type directory struct {
	path     string
	match    *matched // nil for the root
	excluded bool     // it exists only if something in it does

	mu      sync.Mutex
	loaded  bool
	entries []layer.Entry // by name
	dirs    map[string]*directory
}

// OpenContext opens the directory dir less what the patterns of an ignore file
// exclude, in the form in which the parser returns them. known may be nil. When ctx
// ends, so does the walking, and Err says why. Close the context.
func OpenContext(ctx context.Context, dir string, patterns []string, known Digests) (*Context, error) {
	ignore, err := newIgnore(patterns)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	root, err := sys.OpenDir(dir + "/.") // dir may be a link
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	c := &Context{
		name: dir, root: root, ignore: ignore, known: known, start: start,
		top: &directory{}, names: map[inode]string{}, hashed: map[string]hashed{},
	}
	c.stop = context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	return c, nil
}

// Dir is the directory that the context is read from.
func (c *Context) Dir() string { return c.name }

// Close lets go of the directory.
func (c *Context) Close() error {
	c.stop()
	return c.root.Close()
}

// Err returns the first error of walking. What Lookup and ReadDir answered
// before counts only if there is none.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Context) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

// pathError says what failed at a path of the context.
func (c *Context) pathError(op, path string, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		op, err = pe.Op, pe.Err
	}
	return fmt.Errorf("build context: %w", &os.PathError{Op: op, Path: filepath.Join(c.name, path), Err: err})
}

// Lookup implements [layer.View].
func (c *Context) Lookup(path string) (layer.Entry, bool) {
	if path == "" {
		return layer.Entry{Type: layer.Dir, Mode: 0o755}, true
	}
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	d := c.find(dir)
	if d == nil {
		return layer.Entry{}, false
	}
	i, ok := d.search(name)
	if !ok {
		return layer.Entry{}, false
	}
	return d.entries[i], true
}

// ReadDir implements [layer.View]. The result must not be changed.
func (c *Context) ReadDir(path string) []layer.Entry {
	d := c.find(path)
	if d == nil {
		return nil
	}
	return d.entries
}

// find returns the loaded directory at path, or nil.
func (c *Context) find(path string) *directory {
	d := c.top
	for {
		c.load(d)
		if path == "" {
			return d
		}
		var name string
		name, path, _ = strings.Cut(path, "/")
		if d = d.dirs[name]; d == nil {
			return nil
		}
	}
}

func (d *directory) search(name string) (int, bool) {
	return slices.BinarySearchFunc(d.entries, name, func(e layer.Entry, name string) int {
		return strings.Compare(base(e.Path), name)
	})
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
