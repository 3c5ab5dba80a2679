package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Join starts one more command beside one that runs: in its namespaces, its root and its cgroup. What spec says
// of these is not looked at. Standard input and output are descriptors of the caller's, which stay its own, or
// a terminal of the root's own. Wait returns when the command has ended; it is killed with the one that it was
// started beside.
func (s *Sandbox) Join(ctx context.Context, beside *Process, spec *Spec) (_ *Process, err error) {
	if len(spec.Args) == 0 {
		return nil, errors.New("no command to run")
	}
	joined := *spec
	joined.Init, joined.joins = true, true
	b := &builder{program: newProgram(spec.Args[0]), Sandbox: s, spec: &joined, kernel: map[string]*os.File{}}
	p := &Process{ctx: ctx}
	defer b.closeOpen()
	defer func() {
		if err != nil && b.master != nil {
			err = errors.Join(err, b.master.Close())
		}
	}()
	if err := p.connect(b); err != nil {
		return nil, err
	}
	for _, f := range b.stdio {
		if info, err := fileKind(f); err != nil {
			return nil, err
		} else if info&os.ModeNamedPipe != 0 {
			b.pipes = append(b.pipes, f)
		}
	}
	if err := b.enter(beside.cgroup); err != nil {
		return nil, err
	}
	if err := b.writeJoin(beside); err != nil {
		return nil, err
	}
	guard, err := s.guard()
	if err != nil {
		return nil, err
	}
	if p.process, err = start(b.program, 0, &joined, guard.watch); err != nil {
		return nil, err
	}
	p.master = b.master
	p.stopped = context.AfterFunc(ctx, p.kill)
	return p, nil
}

// fileKind is the type of a file that may be missing.
func fileKind(f *os.File) (os.FileMode, error) {
	if f == nil {
		return 0, nil
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Mode().Type(), nil
}

// writeJoin writes the program of a command that is started beside another.
func (b *builder) writeJoin(beside *Process) error {
	pid := beside.Pid()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	process := b.keep(os.NewFile(uintptr(fd), "process"))
	dir, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	b.root = &root{dir: b.keep(dir)}
	if err := b.findUser(); err != nil {
		return err
	}
	if b.spec.Terminal {
		pts, err := b.root.open("/dev/pts", unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		if err := b.newTerminal(b.keep(pts)); err != nil {
			return err
		}
	}
	if err := b.givePipes(); err != nil {
		return err
	}
	namespaces := unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if b.machine.cgroup2 {
		namespaces |= unix.CLONE_NEWCGROUP
	}
	if b.spec.Network != HostNetwork {
		namespaces |= unix.CLONE_NEWNET
	}
	// The other threads stay where they are: this is the one that starts the command.
	b.call("leave the directories of other threads", unix.SYS_UNSHARE, num(unix.CLONE_FS))
	b.call("enter namespaces", unix.SYS_SETNS, b.file(process), num(namespaces))
	b.call("join session keyring", unix.SYS_KEYCTL, num(unix.KEYCTL_JOIN_SESSION_KEYRING), num(0)).tolerate = anyError
	b.standardIO()
	b.leaveParent()
	if err := b.limits(); err != nil {
		return err
	}
	if err := b.dropPrivileges(); err != nil {
		return err
	}
	b.execute()
	return nil
}
