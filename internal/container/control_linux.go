package container

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"builder/executor/sandbox"
)

// The words of the control socket: one request a connection, one line each way.
// It is a socket and not a signal because who stops a container may live in
// another user namespace than it.
const (
	askSignal = "signal" // and a number: the command gets the signal
	askWait   = "wait"   // the connection ends with the container
	askRoot   = "root"   // the answer carries the container's root directory
	answerOK  = "ok"
	// answerExited and a number is what waiting ends with.
	answerExited = "exited"
)

// control is the supervisor's end of the socket.
type control struct {
	l *net.UnixListener

	mu    sync.Mutex
	ended bool
	conns map[*net.UnixConn]bool // true for those who wait for the end
	group sync.WaitGroup
}

// listen makes the socket. Its path is reached by descriptor: those of sockets are
// short.
func listen(dir string) (*control, error) {
	if err := os.Remove(filepath.Join(dir, controlName)); err != nil && !gone(err) {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", socketAddr(d))
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return &control{l: l, conns: map[*net.UnixConn]bool{}}, nil
}

func socketAddr(dir *os.File) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), controlName)}
}

// serve answers requests until Close.
func (c *control) serve(r *running, p *sandbox.Process) {
	c.group.Go(func() {
		for {
			conn, err := c.l.AcceptUnix()
			if err != nil {
				return
			}
			if c.note(conn, false) {
				c.group.Go(func() { c.answer(conn, r, p) })
			}
		}
	})
}

// note remembers a connection, and whether it waits for the end. After that it
// closes it, and ok is false.
func (c *control) note(conn *net.UnixConn, waits bool) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		_ = conn.Close()
		return false
	}
	c.conns[conn] = waits
	return true
}

// Close ends all connections: the container has ended with a status.
func (c *control) Close(status int) error {
	err := c.l.Close()
	c.mu.Lock()
	c.ended = true
	for conn, waiting := range c.conns {
		if waiting {
			_, _ = fmt.Fprintf(conn, "%s %d\n", answerExited, status)
		}
		_ = conn.Close() // whoever else is there has been answered, or is as late
	}
	c.mu.Unlock()
	c.group.Wait()
	return err
}

func (c *control) answer(conn *net.UnixConn, r *running, p *sandbox.Process) {
	defer func() {
		c.mu.Lock()
		delete(c.conns, conn)
		c.mu.Unlock()
		_ = conn.Close()
	}()
	request, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadString('\n')
	if err != nil {
		return
	}
	word, rest, _ := strings.Cut(strings.TrimSuffix(request, "\n"), " ")
	switch word {
	case askWait:
		if c.note(conn, true) {
			_, _ = conn.Read(make([]byte, 1)) // the other end, or Close
		}
		return
	case askSignal:
		var n int
		if n, err = strconv.Atoi(rest); err == nil {
			err = p.Signal(syscall.Signal(n))
		}
		if errors.Is(err, os.ErrProcessDone) {
			return // and so it is not running any more
		}
	case askRoot:
		err = sendRoot(conn, p)
		if err == nil {
			return
		}
	case askExec:
		if err = r.exec(conn, p, rest); err == nil {
			return
		}
	default:
		err = fmt.Errorf("unknown request %q", word)
	}
	answer := answerOK
	if err != nil {
		answer = strings.ReplaceAll(err.Error(), "\n", " ")
	}
	_, _ = io.WriteString(conn, answer+"\n") // the other end may have gone
}

// sendRoot answers with the root directory that the command sees.
func sendRoot(conn *net.UnixConn, p *sandbox.Process) error {
	root, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", p.Pid()), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	_, _, err = conn.WriteMsgUnix([]byte(answerOK+"\n"), unix.UnixRights(int(root.Fd())), nil)
	return errors.Join(err, root.Close())
}

// dial connects to who runs the container; ok is false where nobody does.
func (c *Container) dial(request string) (conn *net.UnixConn, ok bool, err error) {
	d, err := os.Open(c.dir)
	if gone(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	conn, err = net.DialUnix("unix", nil, socketAddr(d))
	if gone(err) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if _, err := io.WriteString(conn, request+"\n"); err != nil {
		_ = conn.Close()
		return nil, false, nil //nolint:nilerr // it has ended just now
	}
	return conn, true, nil
}

// notRunningError says that a container has no command to send a signal to.
type notRunningError struct{ id string }

// Error is worded as docker's.
func (e *notRunningError) Error() string { return fmt.Sprintf("container %s is not running", e.id) }

func (c *Container) errNotRunning() error { return &notRunningError{c.ShortID()} }

// Signal sends a signal to the command of a running container.
func (c *Container) Signal(s syscall.Signal) error {
	conn, ok, err := c.dial(askSignal + " " + strconv.Itoa(int(s)))
	if err != nil {
		return err
	}
	if !ok {
		return c.errNotRunning()
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	_ = conn.Close()
	if err != nil {
		return c.errNotRunning()
	}
	if answer != answerOK+"\n" {
		return errors.New(strings.TrimSpace(answer))
	}
	return nil
}

// Wait returns the exit status of the container when it has ended. One that does
// not run has.
func (c *Container) Wait(ctx context.Context) (int, error) {
	conn, ok, err := c.dial(askWait)
	if err != nil {
		return 0, err
	}
	if ok {
		stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
		answer, err := bufio.NewReader(conn).ReadString('\n')
		stop()
		_ = conn.Close()
		if err != nil && ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		var status int
		if _, err := fmt.Sscanf(answer, answerExited+" %d\n", &status); err == nil {
			return status, nil
		}
	}
	now, err := load(c.dir)
	if gone(err) {
		return 0, &NotFoundError{c.Name}
	}
	if err != nil {
		return 0, err
	}
	return now.ExitCode, nil
}

// Stop asks a running container's command to end and kills it where that takes
// longer than the timeout; a negative one is endless.
func (c *Container) Stop(ctx context.Context, s syscall.Signal, timeout time.Duration) error {
	if err := c.Signal(s); err != nil && !errors.As(err, new(*notRunningError)) {
		return err
	}
	patient, cancel := ctx, context.CancelFunc(func() {})
	if timeout >= 0 {
		patient, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	_, err := c.Wait(patient)
	if patient.Err() == nil || ctx.Err() != nil {
		return ended(err)
	}
	return c.Kill(ctx)
}

// Kill ends a running container's processes at once.
func (c *Container) Kill(ctx context.Context) error {
	// Between the question and now it may have ended by itself.
	if err := c.Signal(unix.SIGKILL); err != nil && !errors.As(err, new(*notRunningError)) {
		return err
	}
	_, err := c.Wait(ctx)
	return ended(err)
}

// ended takes a container that is gone for one that has ended.
func ended(err error) error {
	if errors.As(err, new(*NotFoundError)) {
		return nil
	}
	return err
}

// StopSignal is the signal that the container wants to be stopped by.
func (c *Container) StopSignal() (syscall.Signal, error) { return stopSignal(c.Run.StopSignal) }
