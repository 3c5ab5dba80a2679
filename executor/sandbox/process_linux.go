package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a command that has been started. [Process.Wait] must be called.
type Process struct {
	process *os.Process
	root    *root
	sockets []*socket
	cgroup  *cgroup
	master  *os.File
	copies  sync.WaitGroup
	copyErr [2]error
	copying int
	stopped func() bool
	ctx     context.Context //nolint:containedctx // what ends the process is what Wait has to tell
}

// Run runs a command to its end: [Sandbox.Start] and [Process.Wait].
func (s *Sandbox) Run(ctx context.Context, spec *Spec) error {
	p, err := s.Start(ctx, spec)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Start starts a command. When ctx ends it is killed, with everything that it
// has started. A command that cannot be executed is a [*CommandError].
func (s *Sandbox) Start(ctx context.Context, spec *Spec) (_ *Process, err error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if len(spec.Args) == 0 {
		return nil, errors.New("no command to run")
	}
	b := &builder{program: newProgram(spec.Args[0]), Sandbox: s, spec: spec, flags: namespaces, kernel: map[string]*os.File{}}
	p := &Process{ctx: ctx}
	defer b.closeOpen()
	defer func() {
		if err == nil {
			return
		}
		b.closeOpen()
		p.copies.Wait()
		if b.root != nil {
			err = errors.Join(err, b.root.close())
		}
		err = errors.Join(err, closeSockets(b.sockets), p.cgroup.remove())
		if b.master != nil {
			err = errors.Join(err, b.master.Close())
		}
	}()
	if err := p.connect(b); err != nil {
		return nil, err
	}
	if p.cgroup, err = newCgroup(spec.Limits); err != nil {
		return nil, err
	}
	if err := b.enter(p.cgroup); err != nil {
		return nil, err
	}
	if err := b.write(); err != nil {
		return nil, err
	}
	guard, err := s.guard()
	if err != nil {
		return nil, err
	}
	p.process, err = start(b.program, b.flags, spec, guard.watch)
	if err != nil {
		return nil, err
	}
	p.root, p.master, p.sockets = b.root, b.master, b.sockets
	b.sockets = nil
	p.stopped = context.AfterFunc(ctx, p.kill)
	if len(p.root.stubs) == 0 && len(p.root.appended) == 0 {
		// Nothing to clean up: let go of the root, so that it ends with the process.
		p.root = nil
		if err := b.root.dir.Close(); err != nil {
			p.kill()
			b.closeOpen()
			return nil, errors.Join(err, p.Wait())
		}
	}
	return p, nil
}

// kill ends the process and with it all others in its pid namespace.
func (p *Process) kill() {
	// A process that has ended already is as good as killed.
	_ = p.process.Kill()
}

// Wait waits for the command to end and for its output to be copied, and leaves
// nothing of it behind but what it did. A command that ended otherwise than with
// status 0 is an [*ExitError]; one that the context ended, the context's cause.
func (p *Process) Wait() error {
	state, err := p.process.Wait()
	cancelled := !p.stopped()
	p.copies.Wait()
	outOfMemory := p.cgroup.killed()
	errs := []error{err, p.copyErr[0], p.copyErr[1], closeSockets(p.sockets), p.cgroup.remove()}
	if p.root != nil {
		errs = append(errs, p.root.close())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	err = p.ended(state, cancelled)
	if err != nil && outOfMemory && !cancelled {
		return &MemoryError{Limit: p.cgroup.limits.Memory, Err: err}
	}
	return err
}

// ended says how the command ended.
func (p *Process) ended(state *os.ProcessState, cancelled bool) error {
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return fmt.Errorf("unexpected state of a process: %v", state)
	case status.Signaled() && cancelled:
		return context.Cause(p.ctx)
	case status.Signaled():
		return &ExitError{Code: 128 + int(status.Signal()), Signal: int(status.Signal())}
	case status.ExitStatus() != 0:
		return &ExitError{Code: status.ExitStatus()}
	}
	return nil
}

// Pid is the number of the first process, as this process sees it.
func (p *Process) Pid() int { return p.process.Pid }

// Signal sends a signal to the command.
func (p *Process) Signal(s os.Signal) error { return p.process.Signal(s) }

// Terminal is the caller's end of the command's terminal, nil if it has none.
// The caller closes it.
func (p *Process) Terminal() *os.File { return p.master }

// Resize tells the terminal how large its window is.
func (p *Process) Resize(rows, columns uint16) error {
	return setWindow(p.master, rows, columns)
}

func setWindow(master *os.File, rows, columns uint16) error {
	err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	return os.NewSyscallError("set window size", err)
}

// connect opens what the command has as its standard input and output.
func (p *Process) connect(b *builder) error {
	if b.spec.Terminal {
		return nil // opened together with /dev/pts
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b.keep(null)
	b.stdio[0] = null
	if b.spec.Stdin != nil {
		b.stdio[0] = b.spec.Stdin
	}
	for i, w := range []io.Writer{b.spec.Stdout, b.spec.Stderr} {
		switch w := w.(type) {
		case nil:
			b.stdio[i+1] = null
		case *os.File:
			b.stdio[i+1] = w
		default:
			if i == 1 && sameWriter(b.spec.Stdout, w) {
				b.stdio[2] = b.stdio[1]
				continue
			}
			if b.stdio[i+1], err = p.copyTo(b, w); err != nil {
				return err
			}
		}
	}
	return nil
}

// sameWriter compares what may not be comparable.
func sameWriter(a, b io.Writer) (same bool) {
	defer func() {
		if recover() != nil {
			same = false
		}
	}()
	return a == b
}

// copyTo returns the end of a pipe; what is written to it goes to w.
func (p *Process) copyTo(b *builder, w io.Writer) (*os.File, error) {
	r, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	b.keep(theirs)
	b.pipes = append(b.pipes, theirs)
	n := p.copying
	p.copying++
	p.copies.Go(func() {
		_, err := io.Copy(w, r)
		if err != nil {
			err = fmt.Errorf("copy output: %w", err)
			// The command must not wait for somebody to read.
			_, drainErr := io.Copy(io.Discard, r)
			err = errors.Join(err, drainErr)
		}
		p.copyErr[n] = errors.Join(err, r.Close())
	})
	return theirs, nil
}
