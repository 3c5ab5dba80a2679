package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"builder/executor/sandbox"
	"builder/internal/sys"
)

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

// DefaultStopTimeout is how long a command that was asked to stop may take, in seconds.
const DefaultStopTimeout = 10

// Held is a container that this process, and no other, may run.
type Held struct {
	launch
	config Config
	alive  *os.File
}

// launch is what a process has to be told to run a container that it holds.
type launch struct {
	Dir     string
	Volumes string
	Root    sandbox.Root
}

// Close lets the container go.
func (h *Held) Close() error { return h.alive.Close() }

// Ignore leaves standard input unconnected, however the container was made.
func (h *Held) Ignore() { h.config.Interactive = false }

// Run runs the container to its end in this process, lets it go, and returns its
// status. An error says what went wrong before the command was started, or around
// it; a status other than 0 is none. All signals that this process gets go to the
// command meanwhile. When ctx ends the command gets its stop signal, and is killed
// if that does not help.
func (h *Held) Run(ctx context.Context, streams Streams) (status int, err error) {
	return h.run(ctx, streams, func() {})
}

// run is Run; it calls started when the command has begun.
func (h *Held) run(ctx context.Context, streams Streams, started func()) (status int, err error) {
	r := &running{Held: h}
	if err := decode(stateHeader, filepath.Join(h.Dir, stateName), &r.state); err != nil {
		return StatusFailed, errors.Join(err, h.alive.Close())
	}
	// What a dead supervisor left.
	if r.state.Status == Running {
		r.state.Status = Exited
	}
	status, err = r.open(ctx, streams, started)
	if r.state.Status == Running {
		r.state.Status, r.state.Pid, r.state.Published = Exited, 0, nil
	}
	r.state.ExitCode, r.state.Finished = status, time.Now().UTC()
	if err != nil {
		r.state.Error = err.Error()
	}
	err = errors.Join(err, os.RemoveAll(filepath.Join(h.Dir, sandboxName)), writeState(h.Dir, r.state))
	if h.config.AutoRemove {
		s := &Store{Dir: filepath.Dir(h.Dir), Volumes: h.Volumes}
		err = errors.Join(err, s.remove(&Container{Config: h.config, dir: h.Dir}, RemoveOptions{Volumes: true}))
	}
	return status, errors.Join(err, h.alive.Close(), r.hangUp())
}

// running is a container whose command is about to run, or runs.
type running struct {
	*Held
	state   State
	box     *sandbox.Sandbox
	network sandbox.Network
	ports   []Port
	log     *log
	control *control
}

// open makes what lives as long as the command, and runs it.
func (r *running) open(ctx context.Context, streams Streams, started func()) (status int, err error) {
	stop, err := stopSignal(r.config.Run.StopSignal)
	if err != nil {
		return StatusFailed, err
	}
	dir := filepath.Join(r.Dir, sandboxName)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return StatusFailed, err
	}
	box, err := sandbox.Open(dir)
	if err != nil {
		return StatusFailed, err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	r.box = box
	if r.log, err = openLog(filepath.Join(r.Dir, logName)); err != nil {
		return StatusFailed, err
	}
	defer func() { err = errors.Join(err, r.log.Close()) }()
	if r.control, err = listen(r.Dir); err != nil {
		return StatusFailed, err
	}
	spec := r.spec()
	spec.Stdout, spec.Stderr = r.log.tee(streams.Out, stdout), r.log.tee(streams.Err, stderr)
	if r.config.Interactive && !r.config.Terminal {
		spec.Stdin = streams.In
	}
	end, err := r.wire(ctx, spec)
	if err != nil {
		return StatusFailed, errors.Join(err, end())
	}
	defer func() { err = errors.Join(err, end()) }()
	return r.start(ctx, box, spec, streams, stop, started)
}

// hangUp ends the control socket: those who wait for the end see it.
func (r *running) hangUp() error {
	if r.control == nil {
		return nil
	}
	return r.control.Close(r.state.ExitCode)
}

// spec is the sandbox's word for the container.
func (r *running) spec() *sandbox.Spec {
	c := &r.config
	s := &sandbox.Spec{
		Root: r.Root, Args: c.Command, Env: c.environment(), Dir: or(c.Run.WorkingDir, "/"), User: c.Run.User,
		Hostname: c.Hostname, Terminal: c.Terminal, Init: true,
	}
	c.Surroundings.write(s)
	for _, m := range c.Mounts {
		if m.Memory != nil {
			s.Mounts = append(s.Mounts, sandbox.Mount{Target: m.Target, ReadOnly: m.ReadOnly, Size: m.Memory.Size, Mode: m.Memory.Mode, NoExec: m.Memory.NoExec})
			continue
		}
		s.Mounts = append(s.Mounts, sandbox.Mount{Target: m.Target, Source: m.Source, ReadOnly: m.ReadOnly})
	}
	return s
}

// write writes them into the sandbox's word for a container.
func (c *Surroundings) write(s *sandbox.Spec) {
	s.Hosts = slices.Clone(c.Hosts)
	s.Domainname = c.Domainname
	s.DNS, s.Groups, s.ShmSize, s.Rlimits, s.Nodes = c.DNS, c.Groups, c.ShmSize, c.Rlimits, c.Nodes
	s.Capabilities, s.Unfiltered, s.NoNewPrivileges, s.Sealed = c.Capabilities, c.Unfiltered, c.NoNewPrivileges, c.ReadOnly
	s.Insecure, s.RootAlone = c.Privileged, c.Privileged
	if c.Limits != (sandbox.Limits{}) {
		limits := c.Limits
		s.Limits = &limits
	}
}

// start starts the command, stays beside it, and returns its status.
func (r *running) start(ctx context.Context, box *sandbox.Sandbox, s *sandbox.Spec, streams Streams, stop syscall.Signal, started func()) (status int, err error) {
	// From here on no signal is lost: what comes before the command is there waits for it.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	defer signal.Stop(signals)
	if s.Terminal && streams.In != nil {
		s.Rows, s.Columns, _ = sys.WindowSize(streams.In)
	}
	// What ends this process in the next moment may leave a command that has begun.
	begun := State{Status: Running, Started: time.Now().UTC(), Published: r.ports}
	if err := writeState(r.Dir, begun); err != nil {
		return StatusFailed, err
	}
	p, err := box.Start(context.WithoutCancel(ctx), s)
	if notExecuted := (*sandbox.CommandError)(nil); errors.As(err, &notExecuted) {
		return notExecuted.Code, err
	}
	if err != nil {
		return StatusFailed, err
	}
	begun.Pid = p.Pid()
	r.state = begun
	if err := writeState(r.Dir, r.state); err != nil {
		return StatusFailed, errors.Join(err, p.Signal(unix.SIGKILL), p.Wait())
	}
	done := make(chan struct{})
	var beside sync.WaitGroup
	r.control.serve(r, p)
	beside.Go(func() { r.pass(ctx, p, streams.In, stop, signals, done) })
	if s.Terminal {
		restore, err := r.connect(p, streams, &beside)
		if err != nil {
			return StatusFailed, errors.Join(err, p.Signal(unix.SIGKILL), p.Wait())
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	started()
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
func (r *running) pass(ctx context.Context, p *sandbox.Process, in *os.File, stop syscall.Signal, signals <-chan os.Signal, done <-chan struct{}) {
	cancelled := ctx.Done()
	var patience <-chan time.Time
	for {
		var err error
		select {
		case <-done:
			return
		case <-cancelled:
			cancelled, patience = nil, time.After(time.Duration(r.config.StopTimeout)*time.Second)
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
func (r *running) connect(p *sandbox.Process, streams Streams, beside *sync.WaitGroup) (restore func() error, err error) {
	restore = func() error { return nil }
	if r.config.Interactive && streams.In != nil {
		if restore, err = sys.MakeRaw(streams.In); err != nil {
			return nil, err
		}
		// This one ends with the program: nobody can interrupt a read of a terminal. What it fails
		// with is what the command sees: the end of its input.
		go func() { _, _ = io.Copy(p.Terminal(), streams.In) }()
	}
	beside.Go(func() {
		// The end of a terminal is EIO.
		_, _ = io.Copy(r.log.tee(streams.Out, stdout), p.Terminal())
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
