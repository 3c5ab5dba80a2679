package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrTooLarge is returned for a file that is longer than the caller allowed.
var ErrTooLarge = errors.New("file is too large")

// ErrNotRegular is returned where a regular file was expected.
var ErrNotRegular = errors.New("not a regular file")

// Root is an open root directory. It can be used by many goroutines.
type Root struct{ dir *os.File }

// Open opens the directory dir of the host as a root.
func Open(dir string) (*Root, error) {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	return &Root{f}, nil
}

// Close lets go of the root. Files opened in it stay open.
func (r *Root) Close() error { return r.dir.Close() }

// Lstat describes what stands at path; the last component is not followed.
func (r *Root) Lstat(path string) (fs.FileInfo, error) {
	return r.stat("lstat", path, unix.O_NOFOLLOW)
}

// Stat describes what path leads to.
func (r *Root) Stat(path string) (fs.FileInfo, error) { return r.stat("stat", path, 0) }

func (r *Root) stat(op, path string, flags int) (fs.FileInfo, error) {
	f, err := r.open(op, path, unix.O_PATH|flags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// OpenFile opens path with the flags of open(2). perm is given to a new file,
// less the umask.
func (r *Root) OpenFile(path string, flags int, perm uint32) (*os.File, error) {
	return r.open("open", path, flags, perm)
}

// open is openat2(2), Linux 5.6. EAGAIN means that a rename elsewhere kept the
// kernel from being sure that ".." stayed inside.
func (r *Root) open(op, path string, flags int, perm uint32) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = uint64(perm)
	}
	name := path
	if name == "" {
		name = "."
	}
	for range 64 {
		fd, err := unix.Openat2(int(r.dir.Fd()), name, &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), path), nil
		case unix.EINTR, unix.EAGAIN:
		default:
			return nil, &fs.PathError{Op: op, Path: path, Err: err}
		}
	}
	return nil, &fs.PathError{Op: op, Path: path, Err: unix.EAGAIN}
}

// ReadFile returns what the regular file at path holds. A file of another type
// fails with [ErrNotRegular], one longer than limit bytes with [ErrTooLarge].
func (r *Root) ReadFile(path string, limit int64) ([]byte, error) {
	f, err := r.open("read", path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrNotRegular}
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: ErrTooLarge}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// MkdirAll makes the directory path and those above it that are missing, and
// returns the paths of those that it made, the topmost first, without links. A
// link on the way is followed inside the root, also where it leads to nothing yet.
func (r *Root) MkdirAll(path string, perm uint32) (made []string, err error) {
	path, err = r.Resolve(path)
	if err != nil {
		return nil, fmt.Errorf("mkdir: %w", err)
	}
	for end := 0; end < len(path); {
		next := strings.IndexByte(path[end+1:], '/')
		if next < 0 {
			end = len(path)
		} else {
			end += 1 + next
		}
		ok, err := r.mkdir(path[:end], perm)
		if err != nil {
			return made, err
		}
		if ok {
			made = append(made, path[:end])
		}
	}
	return made, nil
}

// mkdir makes one directory, whose path is free of links. ok is false where
// there is one.
func (r *Root) mkdir(path string, perm uint32) (ok bool, err error) {
	dir, name := split(path)
	parent, err := r.open("mkdir", dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, err
	}
	defer parent.Close()
	err = unix.Mkdirat(int(parent.Fd()), name, perm)
	if err == nil {
		return true, nil
	}
	if err == unix.EEXIST {
		st, statErr := r.Lstat(path)
		if statErr == nil && st.IsDir() {
			return false, nil
		}
		err = unix.ENOTDIR
	}
	return false, &fs.PathError{Op: "mkdir", Path: path, Err: err}
}

// Readlink returns the target of the symbolic link at path, as it is written.
func (r *Root) Readlink(path string) (string, error) {
	f, err := r.open("readlink", path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", buf)
	if err == unix.ENOENT {
		err = unix.EINVAL // no link: readlinkat(2) says so for an empty name
	}
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: path, Err: err}
	}
	return string(buf[:n]), nil
}

// maxLinks is how many symbolic links one path may pass through, as in Linux.
const maxLinks = 40

// Resolve returns the path, relative to the root and free of links, that path
// leads to. What does not exist leads to itself. The answer holds until somebody
// changes the tree; whoever opens it later does so in the root again.
func (r *Root) Resolve(path string) (string, error) {
	rest := strings.Split(path, "/")
	var done string
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			done, _ = split(done)
			continue
		}
		next := name
		if done != "" {
			next = done + "/" + name
		}
		target, err := r.Readlink(next)
		switch {
		case err == nil:
			if links++; links > maxLinks {
				return "", &fs.PathError{Op: "resolve", Path: path, Err: unix.ELOOP}
			}
			if strings.HasPrefix(target, "/") {
				done = ""
			}
			rest = append(strings.Split(target, "/"), rest...)
		case errors.Is(err, unix.EINVAL), errors.Is(err, fs.ErrNotExist):
			done = next
		case errors.Is(err, unix.ENOTDIR):
			return "", &fs.PathError{Op: "resolve", Path: path, Err: unix.ENOTDIR}
		default:
			return "", err
		}
	}
	return done, nil
}

func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}
