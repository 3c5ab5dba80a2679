package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// privateName is what a private file is called where it lies.
const privateName = "private"

// private shows a file or a socket that lies in a file system of its own in memory.
func (b *builder) private(m Mount) error {
	at, err := openPrivate()
	if err != nil {
		return err
	}
	b.keep(at)
	p := m.Private
	if p.Serve == nil {
		err = writePrivate(at, p.Data)
	} else {
		err = b.listen(at, p.Serve)
	}
	if err != nil {
		return err
	}
	if err := unix.Fchownat(int(at.Fd()), privateName, p.UID, p.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("give it to %d:%d: %w", p.UID, p.GID, err)
	}
	if err := sys.Chmod(at, privateName, p.Mode&0o777); err != nil {
		return err
	}
	attrs := uint64(quiet)
	if m.ReadOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	if err := sys.SetMount(at, attrs, false); err != nil {
		return err
	}
	pick, err := openIn(at, privateName, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH)
	if err != nil {
		return err
	}
	return b.show(at, b.keep(pick), m.Target)
}

// openPrivate makes a file system in memory that is never swapped out, where the
// kernel knows that: Linux 6.4.
func openPrivate() (*os.File, error) {
	mode := sys.Option{Name: "mode", Value: "755"}
	at, err := sys.OpenFS("tmpfs", quiet, mode, sys.Option{Name: "noswap"})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		return sys.OpenFS("tmpfs", quiet, mode)
	}
	return at, err
}

func writePrivate(at *os.File, data []byte) error {
	fd, err := unix.Openat(int(at.Fd()), privateName, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return os.NewSyscallError("create", err)
	}
	f := os.NewFile(uintptr(fd), privateName)
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// socket is a socket that is being served.
type socket struct {
	listener net.Listener
	end      context.CancelFunc
	work     sync.WaitGroup
}

// listen makes a socket and answers its connections until [socket.close].
func (b *builder) listen(at *os.File, serve func(context.Context, net.Conn)) error {
	l, err := net.Listen("unix", "/proc/self/fd/"+strconv.Itoa(int(at.Fd()))+"/"+privateName)
	if err != nil {
		return err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // it goes with its file system
	}
	ctx, end := context.WithCancel(context.Background())
	s := &socket{listener: l, end: end}
	s.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.work.Go(func() {
				stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // to end what waits on it
				defer stop()
				serve(ctx, c)
			})
		}
	})
	b.sockets = append(b.sockets, s)
	return nil
}

// closeSockets ends what serves the sockets.
func closeSockets(sockets []*socket) error {
	var errs []error
	for _, s := range sockets {
		errs = append(errs, s.listener.Close())
		s.end()
		s.work.Wait()
	}
	return errors.Join(errs...)
}
