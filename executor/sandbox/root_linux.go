package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// root is the root directory of a step: a mount that is attached nowhere yet.
// Paths in it are resolved as the step would, and never lead out of it.
type root struct {
	dir      *os.File
	stubs    []stub
	appended []appendix
}

// stub is a file or an empty directory that was made to be mounted upon.
type stub struct {
	parent *os.File
	name   string
	dir    bool
}

// openRoot mounts what r describes. stubs is a directory to be shown below all others.
func openRoot(r Root, stubs string) (*root, error) {
	if len(r.Lower) == 0 && r.Upper == "" {
		dir, err := sys.CloneMount(r.Source)
		if err != nil {
			return nil, err
		}
		if !r.Writable {
			err = sys.SetMount(dir, unix.MOUNT_ATTR_RDONLY, false)
		}
		return &root{dir: dir}, err
	}
	o := sys.Overlay{Lower: r.Lower, UserXattr: r.UserXattr, Volatile: !r.Durable}
	if r.Writable {
		o.Upper, o.Work = r.Upper, r.Work
	}
	if stubs != "" {
		o.Lower = append(o.Lower[:len(o.Lower):len(o.Lower)], stubs)
	}
	if o.Upper == "" && len(o.Lower) == 1 {
		// One directory is no overlay.
		return openRoot(Root{Source: o.Lower[0]}, "")
	}
	dir, err := sys.OpenOverlay(o)
	if err != nil {
		return nil, err
	}
	return &root{dir: dir}, nil
}

// open opens path for reading its place, not its content.
func (r *root) open(path string, flags uint64) (*os.File, error) {
	return openIn(r.dir, path, flags|unix.O_PATH, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

func openIn(dir *os.File, path string, flags, resolve uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for {
		fd, err := unix.Openat2(int(dir.Fd()), relative(path), &how)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// relative makes path one that openat takes as relative to its directory.
func relative(path string) string {
	path = strings.TrimLeft(path, "/")
	if path == "" {
		return "."
	}
	return path
}

// read returns the content of the regular file at path, nil if there is none;
// one longer than limit is an error.
func (r *root) read(path string, limit int64) ([]byte, error) {
	f, err := openIn(r.dir, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return b, nil
}

// own returns the directory name in the root, for one of the sandbox's own file
// systems. It is made where it is missing, and stays. A link in its place is
// refused: what is mounted there is reached by its name later.
func (r *root) own(name string) (*os.File, error) {
	f, err := r.open(name, unix.O_NOFOLLOW)
	if errors.Is(err, os.ErrNotExist) {
		if err := makeEntry(r.dir, name, true); err != nil {
			return nil, err
		}
		f, err = r.open(name, unix.O_NOFOLLOW)
	}
	if err != nil {
		return nil, err
	}
	if err := wantDir(f, true); err != nil {
		return nil, errors.Join(fmt.Errorf("mount at /%s: %w", name, err), f.Close())
	}
	return f, nil
}

// wantDir fails if f is a directory and should not be, or the other way round.
func wantDir(f *os.File, dir bool) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir() == dir:
		return nil
	case dir:
		return errors.New("not a directory")
	default:
		return errors.New("is a directory")
	}
}

// mountPoint returns what path leads to, a directory or a file. What is missing
// is made, to be removed by [root.close] unless the step has used it.
func (r *root) mountPoint(path string, dir bool) (*os.File, error) {
	f, err := r.open(path, 0)
	if errors.Is(err, os.ErrNotExist) {
		f, err = r.makePath(path, dir, true)
	}
	if err != nil {
		return nil, err
	}
	if err := wantDir(f, dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// workingDir makes the directory path where it is missing.
func (r *root) workingDir(path string) error {
	f, err := r.open(path, unix.O_DIRECTORY)
	if errors.Is(err, os.ErrNotExist) {
		f, err = r.makePath(path, true, false)
	}
	if err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	return f.Close()
}

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// makePath walks path as the kernel would, and makes what is missing: the last
// component a directory or a file, the others directories. If temporary, they are noted as stubs.
func (r *root) makePath(name string, dir, temporary bool) (*os.File, error) {
	at, todo := "", splitPath(name)
	for links := 0; len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		if next == ".." {
			at = path.Dir("/" + at)[1:]
			continue
		}
		here := path.Join(at, next)
		f, err := openIn(r.dir, here, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
		if errors.Is(err, os.ErrNotExist) {
			if err := r.makeAt(at, next, dir || len(todo) > 0, temporary); err != nil {
				return nil, err
			}
			at = here
			continue
		}
		if err != nil {
			return nil, err
		}
		target, link, err := readLink(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		if !link {
			at = here
			continue
		}
		if links++; links > maxLinks {
			return nil, &os.PathError{Op: "open", Path: name, Err: unix.ELOOP}
		}
		if strings.HasPrefix(target, "/") {
			at = ""
		}
		todo = append(splitPath(target), todo...)
	}
	return openIn(r.dir, at, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
}

// splitPath splits a path into its components, without empty ones and ".".
func splitPath(p string) []string {
	var list []string
	for _, name := range strings.Split(p, "/") {
		if name != "" && name != "." {
			list = append(list, name)
		}
	}
	return list
}

// readLink returns where f points, if it is a symbolic link.
func readLink(f *os.File) (target string, link bool, err error) {
	info, err := f.Stat()
	if err != nil || info.Mode().Type() != os.ModeSymlink {
		return "", false, err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", buf)
	if err != nil {
		return "", true, &os.PathError{Op: "readlink", Path: f.Name(), Err: err}
	}
	return string(buf[:n]), true, nil
}

// makeAt makes name in the directory at.
func (r *root) makeAt(at, name string, dir, temporary bool) error {
	parent, err := openIn(r.dir, at, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return err
	}
	if !temporary {
		return errors.Join(makeEntry(parent, name, dir), parent.Close())
	}
	r.stubs = append(r.stubs, stub{parent, name, dir})
	return keepTimes(parent, func() error { return makeEntry(parent, name, dir) })
}

// makeEntry makes an empty directory or file.
func makeEntry(parent *os.File, name string, dir bool) error {
	fd := int(parent.Fd())
	if dir {
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			return &os.PathError{Op: "mkdir", Path: path.Join(parent.Name(), name), Err: err}
		}
		return sys.Chmod(parent, name, 0o755)
	}
	f, err := unix.Openat(fd, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "create", Path: path.Join(parent.Name(), name), Err: err}
	}
	return unix.Close(f)
}

// keepTimes calls change, which changes the directory dir, and puts dir's times back.
func keepTimes(dir *os.File, change func() error) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	if err := change(); err != nil {
		return err
	}
	return sys.SetTimes(dir, st.Atim, st.Mtim)
}

// close removes the stubs that the step has not made its own and what was put at the end of
// files, and lets go of the root.
func (r *root) close() error {
	var errs []error
	for _, a := range r.appended {
		errs = append(errs, r.takeOff(a))
	}
	r.appended = nil
	for i := len(r.stubs) - 1; i >= 0; i-- {
		s := r.stubs[i]
		errs = append(errs, s.remove(), s.parent.Close())
	}
	r.stubs = nil
	return errors.Join(append(errs, r.dir.Close())...)
}

// forget leaves the stubs where they are: they are gone with what they are in.
func (r *root) forget() error {
	var errs []error
	for _, s := range r.stubs {
		errs = append(errs, s.parent.Close())
	}
	r.stubs = nil
	return errors.Join(errs...)
}

// remove removes the stub if it is still empty. The directory it is in is held
// open, so that nothing else than an entry of this directory can be hit.
func (s stub) remove() error {
	var st unix.Stat_t
	fd := int(s.parent.Fd())
	err := unix.Fstatat(fd, s.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: s.name, Err: err}
	}
	flags, format := 0, uint32(unix.S_IFREG)
	if s.dir {
		flags, format = unix.AT_REMOVEDIR, unix.S_IFDIR
	}
	if st.Mode&unix.S_IFMT != format || !s.dir && st.Size != 0 {
		return nil
	}
	return keepTimes(s.parent, func() error {
		err := unix.Unlinkat(fd, s.name, flags)
		if err == nil || err == unix.ENOENT || err == unix.ENOTEMPTY {
			return nil
		}
		return &os.PathError{Op: "remove", Path: s.name, Err: err}
	})
}

// OpenDir opens a directory inside a root for reading, as a step would find it.
// The root is mounted nowhere and gone when the directory is closed.
func OpenDir(r Root, path string) (_ *os.File, err error) {
	in, err := openRoot(r, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	return openIn(in.dir, path, unix.O_RDONLY|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}
