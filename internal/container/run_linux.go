package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"builder/executor/sandbox"
	"builder/internal/sys"
	"builder/snapshot"
)

// Runner runs containers.
type Runner struct {
	Snapshots snapshot.Snapshotter
	Sandbox   *sandbox.Sandbox
	// Volumes is the directory of named volumes. Temp is for what ends with the container, on a
	// disk with room for anonymous volumes.
	Volumes, Temp string
}

// Streams are what a container is connected to. With a terminal, In may be the
// user's: it is put into raw mode, and its window size is passed on.
type Streams struct {
	In       *os.File
	Out, Err io.Writer
}

// Status is what a process that runs a container exits with: the command's own,
// or one of these.
const (
	StatusFailed        = 125 // the container could not be made
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

// stopTimeout is how long a command that was asked to stop may take.
const stopTimeout = 10 * time.Second

// Run runs a container to its end and returns its status. An error says what went
// wrong before the command was started, or around it; a status other than 0 is none.
// All signals that this process gets go to the command meanwhile. When ctx ends the
// command gets the image's stop signal, and is killed if that does not help.
func (r *Runner) Run(ctx context.Context, tree snapshot.ID, spec *Spec, streams Streams) (status int, err error) {
	command, err := spec.command()
	if err != nil {
		return StatusFailed, err
	}
	stop, err := stopSignal(spec.Config.StopSignal)
	if err != nil {
		return StatusFailed, err
	}
	active, err := r.Snapshots.Prepare(ctx, tree)
	if err != nil {
		return StatusFailed, err
	}
	defer func() {
		err = errors.Join(err, r.Snapshots.Discard(context.WithoutCancel(ctx), active))
	}()
	scratch, err := os.MkdirTemp(r.Temp, "container-")
	if err != nil {
		return StatusFailed, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	s, err := r.process(ctx, spec, command, active.Mount(), scratch)
	if err != nil {
		return StatusFailed, err
	}
	s.Stdout, s.Stderr = streams.Out, streams.Err
	if spec.Interactive && !spec.Terminal {
		s.Stdin = streams.In
	}
	return r.start(ctx, s, spec, streams, stop)
}

// process is the sandbox's word for a container.
func (r *Runner) process(ctx context.Context, spec *Spec, command []string, m snapshot.Mount, scratch string) (*sandbox.Spec, error) {
	hostname := spec.Hostname
	if hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		hostname = name
	}
	s := &sandbox.Spec{
		Root:     sandbox.Root{Source: m.Source, Lower: m.Lower, Upper: m.Upper, Work: m.Work, Writable: m.Writable, UserXattr: m.UserXattr},
		Args:     command,
		Env:      spec.environment(hostname),
		Dir:      or(spec.Dir, spec.Config.WorkingDir, "/"),
		User:     or(spec.User, spec.Config.User),
		Hostname: hostname,
		Terminal: spec.Terminal,
		Init:     true,
	}
	var err error
	// The volumes are filled from the tree below, before it has a writable layer mounted.
	below := s.Root
	below.Upper, below.Work, below.Writable = "", "", false
	s.Mounts, err = r.mounts(ctx, spec, below, scratch)
	return s, err
}

// start starts the command, stays beside it, and returns its status.
func (r *Runner) start(ctx context.Context, s *sandbox.Spec, spec *Spec, streams Streams, stop syscall.Signal) (status int, err error) {
	// From here on no signal is lost: what comes before the command is there waits for it.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	defer signal.Stop(signals)
	if spec.Terminal && streams.In != nil {
		s.Rows, s.Columns, _ = sys.WindowSize(streams.In)
	}
	p, err := r.Sandbox.Start(context.WithoutCancel(ctx), s)
	if notExecuted := (*sandbox.CommandError)(nil); errors.As(err, &notExecuted) {
		return notExecuted.Code, err
	}
	if err != nil {
		return StatusFailed, err
	}
	done := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { pass(ctx, p, streams.In, stop, signals, done) })
	if spec.Terminal {
		restore, err := connect(p, spec, streams, &beside)
		if err != nil {
			return StatusFailed, errors.Join(err, p.Signal(unix.SIGKILL), p.Wait())
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	err = p.Wait()
	close(done)
	beside.Wait()
	if p.Terminal() != nil {
		err = errors.Join(err, p.Terminal().Close())
	}
	if exit := (*sandbox.ExitError)(nil); errors.As(err, &exit) {
		return exit.Code, nil
	}
	if err != nil {
		return StatusFailed, err
	}
	return 0, nil
}

// pass passes signals and changes of the window's size on to the command, and stops it when ctx
// ends, until done.
func pass(ctx context.Context, p *sandbox.Process, in *os.File, stop syscall.Signal, signals <-chan os.Signal, done <-chan struct{}) {
	cancelled := ctx.Done()
	var patience <-chan time.Time
	for {
		var err error
		select {
		case <-done:
			return
		case <-cancelled:
			cancelled, patience = nil, time.After(stopTimeout)
			err = p.Signal(stop)
		case <-patience:
			err = p.Signal(unix.SIGKILL)
		case s := <-signals:
			err = forward(p, in, s)
		}
		if err != nil {
			return // it has ended; Wait tells how
		}
	}
}

func forward(p *sandbox.Process, in *os.File, s os.Signal) error {
	switch s {
	case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGTTIN, unix.SIGTTOU:
		return nil
	case unix.SIGWINCH:
		return resize(p, in)
	}
	return p.Signal(s)
}

// resize gives the command's terminal the size of the user's.
func resize(p *sandbox.Process, in *os.File) error {
	if p.Terminal() == nil || in == nil {
		return nil
	}
	rows, columns, ok := sys.WindowSize(in)
	if !ok {
		return nil
	}
	return p.Resize(rows, columns)
}

// connect copies between the command's terminal and the streams. restore puts the
// user's terminal back.
func connect(p *sandbox.Process, spec *Spec, streams Streams, beside *sync.WaitGroup) (restore func() error, err error) {
	restore = func() error { return nil }
	if spec.Interactive && streams.In != nil {
		if restore, err = sys.MakeRaw(streams.In); err != nil {
			return nil, err
		}
		// This one ends with the program: nobody can interrupt a read of a terminal. What it fails
		// with is what the command sees: the end of its input.
		go func() { _, _ = io.Copy(p.Terminal(), streams.In) }()
	}
	beside.Go(func() {
		// The end of a terminal is EIO.
		_, _ = io.Copy(streams.Out, p.Terminal())
	})
	return restore, nil
}

// stopSignal parses an image's StopSignal: a name with or without "SIG", or a
// number; SIGTERM if empty.
func stopSignal(s string) (syscall.Signal, error) {
	if s == "" {
		return unix.SIGTERM, nil
	}
	if sig, ok := sys.ParseSignal(s); ok {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown stop signal %q", s)
}
