package sandbox

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// guardName is what the program is called when it is to be a guard.
const guardName = "builder-guard"

// guardSocket is the guard's end of the socket on which it is told of steps.
const guardSocket = 3

// guard is a process that outlives this one by a moment: it knows every running
// step and kills them when this process is gone. The kernel would do so too
// (PDEATHSIG), but forgets it where a step's first process changes its user, as
// gosu and setpriv do.
type guard struct {
	process *os.Process
	socket  int
}

// startGuard starts the guard, in a session of its own: what ends this process
// from the terminal does not end it.
func startGuard() (*guard, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "guard")
	p, err := os.StartProcess("/proc/self/exe", []string{guardName}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{},
		Files: []*os.File{nil, nil, nil, theirs},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err = errors.Join(err, theirs.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("start guard: %w", err), unix.Close(pair[0]))
	}
	return &guard{process: p, socket: pair[0]}, nil
}

// watch tells the guard of a step.
func (g *guard) watch(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	err = unix.Sendmsg(g.socket, []byte{0}, unix.UnixRights(fd), nil, 0)
	return errors.Join(os.NewSyscallError("sendmsg", err), unix.Close(fd))
}

// close ends the guard. No step is running.
func (g *guard) close() error {
	err := unix.Close(g.socket)
	_, werr := g.process.Wait()
	return errors.Join(err, werr)
}

// becomeGuard collects steps until the other end of the socket is closed, and
// kills those that still run.
func becomeGuard() int {
	var steps []int
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(guardSocket, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 || err != nil {
			break
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		for i := 0; err == nil && i < len(messages); i++ {
			var fds []int
			if fds, err = unix.ParseUnixRights(&messages[i]); err == nil {
				steps = append(running(steps), fds...)
			}
		}
	}
	for _, step := range running(steps) {
		_ = unix.PidfdSendSignal(step, unix.SIGKILL, nil, 0) // it may have ended in this moment
	}
	return 0
}

// running closes the descriptors of those that have ended and returns the others.
func running(steps []int) []int {
	kept := steps[:0]
	for _, fd := range steps {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 0); err == nil && n > 0 {
			_ = unix.Close(fd)
			continue
		}
		kept = append(kept, fd)
	}
	return kept
}
