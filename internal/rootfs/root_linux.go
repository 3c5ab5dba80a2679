package rootfs

import (
	"io/fs"
	"os"
)

// Root is an open root directory. It can be used by many goroutines.
type Root struct{ dir *os.File }

// Open opens the directory dir of the host as a root.
func Open(dir string) (*Root, error) { panic("not yet") }

// Close lets go of the root. Files opened in it stay open.
func (r *Root) Close() error { return r.dir.Close() }

// Lstat describes what stands at path; the last component is not followed.
func (r *Root) Lstat(path string) (fs.FileInfo, error) { panic("not yet") }

// Stat describes what path leads to.
func (r *Root) Stat(path string) (fs.FileInfo, error) { panic("not yet") }

// OpenFile opens path with the flags of open(2). perm is given to a new file,
// less the umask.
func (r *Root) OpenFile(path string, flags int, perm uint32) (*os.File, error) { panic("not yet") }

// ReadFile returns what the regular file at path holds. A file of another type,
// or longer than limit bytes, is an error.
func (r *Root) ReadFile(path string, limit int64) ([]byte, error) { panic("not yet") }

// MkdirAll makes the directory path and those above it that are missing, and
// returns the paths of those that it made, the topmost first, without links.
func (r *Root) MkdirAll(path string, perm uint32) (made []string, err error) { panic("not yet") }

// Readlink returns the target of the symbolic link at path, as it is written.
func (r *Root) Readlink(path string) (string, error) { panic("not yet") }

// Resolve returns the path, relative to the root and free of links, that path
// leads to. What does not exist leads to itself.
func (r *Root) Resolve(path string) (string, error) { panic("not yet") }
