package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A Process is a running daemon.
type Process struct {
	Addr string // where it listens

	name   string
	cgroup string // that it makes and leaves, in every hierarchy
	cmd    *exec.Cmd
	log    *output
	done   chan struct{}
}

// output keeps the end of what a daemon says.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	const most = 1 << 20
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() > most {
		o.buf.Next(most / 2)
	}
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// inside prepares the mounts of a new mount and process namespace, and
// becomes the daemon, the namespace's first process.
const inside = `mount --make-rprivate / && mount -t proc proc /proc && exec "$@"`

// start runs a daemon and waits until something listens at addr.
func start(ctx context.Context, network, addr, name string, args ...string) (*Process, error) {
	p := &Process{Addr: addr, name: name, log: &output{}, done: make(chan struct{})}
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", inside, "sh", name}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TMPDIR=" + os.TempDir(), "OTEL_TRACES_EXPORTER=none"}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setpgid: true, Pdeathsig: syscall.SIGKILL,
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // a killed daemon's status says nothing
	}()
	if err := p.await(ctx, network); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start %s: %w\n%s", name, err, p.log)
	}
	return p, nil
}

// await returns when the daemon accepts connections.
func (p *Process) await(ctx context.Context, network string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial(network, p.Addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.done:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Stop kills the daemon and all that it started, and waits for its end.
func (p *Process) Stop() {
	_ = p.cmd.Process.Kill() // the namespace ends with its first process
	<-p.done
	if p.cgroup != "" {
		RemoveCgroups(p.cgroup)
	}
}

// RemoveCgroups removes the cgroup with that name, and those in it, from every
// hierarchy. Those that still have processes stay.
func RemoveCgroups(name string) {
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue
		}
		for _, top := range found {
			_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return err
			})
		}
	}
	for _, dir := range slices.Backward(dirs) {
		_ = syscall.Rmdir(dir)
	}
}

// Log is the end of what the daemon printed.
func (p *Process) Log() string { return p.log.String() }
