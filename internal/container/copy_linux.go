package container

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"builder/executor/sandbox"
	"builder/internal/rootfs"
)

// Place is a path in a tree: a container's, or the host's.
type Place struct {
	Root *rootfs.Root
	// Path is as people write it: a slash at its end asks for a directory, and "/."
	// for what is in it.
	Path string
}

// CopyOptions say how files are copied.
type CopyOptions struct {
	// Follow copies what a symbolic link at the end of the source leads to.
	Follow bool
	// Owner, where it is not nil, is whose the copies are, by uid and gid.
	Owner *[2]int
}

// Files lets use read and write the files of a container: those that its
// processes see while it runs, volumes included, and its own tree otherwise.
func (s *Store) Files(ctx context.Context, c *Container, use func(*rootfs.Root) error) (err error) {
	if c.Status == Running {
		dir, err := c.rootDir()
		if err != nil {
			return err
		}
		return useRoot(dir, use)
	}
	// While it is held nobody starts it: one overlay is not mounted twice.
	held, err := s.Hold(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	held.Root.Durable = true
	dir, err := sandbox.OpenDir(held.Root, "/")
	if err != nil {
		return err
	}
	return useRoot(dir, use)
}

func useRoot(dir *os.File, use func(*rootfs.Root) error) error {
	root, err := rootfs.Open(fmt.Sprintf("/proc/self/fd/%d/.", dir.Fd()))
	if err != nil {
		return errors.Join(err, dir.Close())
	}
	return errors.Join(use(root), root.Close(), dir.Close())
}

// rootDir asks who runs the container for the root directory that the command sees.
func (c *Container) rootDir() (*os.File, error) {
	conn, ok, err := c.dial(askRoot)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, c.errNotRunning()
	}
	f, err := receiveFile(conn)
	return f, errors.Join(err, conn.Close())
}

// receiveFile reads an answer that carries a descriptor.
func receiveFile(conn *net.UnixConn) (*os.File, error) {
	line, files, err := receive(conn)
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		return nil, errors.Join(errors.New(line), closeAll(files))
	}
	return files[0], nil
}

// receive reads the first line of an answer, and the descriptors that it carries.
func receive(conn *net.UnixConn) (line string, files []*os.File, err error) {
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return "", nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return "", nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return "", files, errors.Join(err, closeAll(files))
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "answer"))
		}
	}
	line, _, _ = strings.Cut(string(buf[:n]), "\n")
	return line, files, nil
}

// Pack writes what is at a place to a tar, under the last part of its path.
func Pack(ctx context.Context, from Place, o CopyOptions, w io.Writer) error {
	return pack(ctx, from, o, w, func(base string) string { return base })
}

// pack is Pack; rename gives what is copied another name.
func pack(ctx context.Context, from Place, o CopyOptions, w io.Writer, rename func(base string) string) error {
	at, err := from.resolve(o.Follow)
	if err != nil {
		return err
	}
	p := packer{ctx: ctx, w: tar.NewWriter(w), links: map[[2]uint64]string{}}
	dir, name := path.Split(at)
	base := path.Base(path.Clean("/" + from.Path))
	if name == "" {
		base = "." // the root
	}
	if base = rename(base); base == "." || name == "" {
		err = p.contents(from.Root, at, base)
	} else {
		err = p.single(from.Root, dir, name, base)
	}
	return errors.Join(err, p.w.Close())
}

func (p *packer) contents(root *rootfs.Root, at, base string) error {
	d, err := openInRoot(root, at)
	if err != nil {
		return err
	}
	if base == "." {
		base = ""
	}
	return errors.Join(p.children(d, base), d.Close())
}

func (p *packer) single(root *rootfs.Root, dir, name, base string) error {
	d, err := openInRoot(root, dir)
	if err != nil {
		return err
	}
	return errors.Join(p.entry(d, name, base), d.Close())
}

// resolve is the path that the place leads to, without links in it; one at its end
// is followed only where that is asked for, or the path goes on behind it.
func (p Place) resolve(follow bool) (string, error) {
	if follow || strings.HasSuffix(p.Path, "/") || strings.HasSuffix(p.Path, "/.") {
		at, err := p.Root.Resolve(p.Path)
		if err == nil {
			_, err = p.Root.Lstat(at)
		}
		return at, err
	}
	dir, name := path.Split(path.Clean("/" + p.Path))
	at, err := p.Root.Resolve(dir)
	if err != nil {
		return "", err
	}
	at = path.Join(at, name)
	if at == "." {
		at = ""
	}
	_, err = p.Root.Lstat(at)
	return at, err
}

// Unpack reads a tar into the directory at a place, which must be there.
func Unpack(ctx context.Context, r io.Reader, to Place, o CopyOptions) error {
	st, err := to.Root.Stat(to.Path)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory", to.Path)
	}
	dir, err := to.Root.Resolve(to.Path)
	if err != nil {
		return err
	}
	u := unpacker{root: to.Root, dir: dir, owner: o.Owner}
	// Only one who reads ahead has the end of the tar checked by who writes it.
	b := bufio.NewReaderSize(r, 64<<10)
	if err := u.unpack(ctx, b); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, b)
	return err
}

// Copy copies what is at one place to another, with the rules of cp -r: into a
// directory that is there, or under the name that is not.
func Copy(ctx context.Context, from, to Place, o CopyOptions) error {
	at, err := from.resolve(o.Follow)
	if err != nil {
		return err
	}
	source, err := from.Root.Lstat(at)
	if err != nil {
		return err
	}
	rename, target, err := to.aim(from.Path, source.IsDir())
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := pack(ctx, from, o, w, rename)
		w.CloseWithError(err)
		done <- err
	}()
	err = Unpack(ctx, r, target, o)
	r.CloseWithError(err)
	if perr := <-done; perr != nil && !errors.Is(perr, io.ErrClosedPipe) && err == nil {
		err = perr
	}
	return err
}

// aim says into which directory, and under which name, a source goes.
func (p Place) aim(source string, isDir bool) (rename func(string) string, dir Place, err error) {
	st, err := p.Root.Stat(p.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return nil, p, err
	}
	keep := func(base string) string { return base }
	parent, name := path.Split(path.Clean("/" + p.Path))
	as := func(string) string { return name }
	switch {
	case !missing && st.IsDir() && strings.HasSuffix(source, "/."):
		return func(string) string { return "." }, p, nil
	case !missing && st.IsDir():
		return keep, p, nil
	case !missing && isDir:
		return nil, p, fmt.Errorf("cannot copy a directory to the file %s", p.Path)
	case missing && strings.HasSuffix(p.Path, "/") && !isDir:
		return nil, p, fmt.Errorf("no such directory: %s", p.Path)
	case !missing:
		// What is written to is the file that a link leads to.
		at, err := p.Root.Resolve(p.Path)
		if err != nil {
			return nil, p, err
		}
		parent, name = path.Split(at)
	}
	return as, Place{Root: p.Root, Path: "/" + parent}, nil
}
