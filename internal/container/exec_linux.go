package container

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"builder/executor/sandbox"
	"builder/internal/sys"
)

// Exec is one more command for a container that runs. What is empty is as the
// container has it.
type Exec struct {
	Args      []string
	Env       []string // added to the container's
	Dir, User string
	// Terminal gives the command a terminal of its own; Interactive connects it, or
	// the command's standard input.
	Terminal, Interactive bool
	Privileged            bool
	// Detached connects the command to nothing.
	Detached      bool
	Rows, Columns uint16
}

// askExec asks for a command to be started: an [Exec] as JSON follows. The answer
// carries the other ends of what it is connected to, and when it has ended another
// line says how.
const askExec = "exec"

// answerFailed, an exit status and a message are for a command that cannot be executed.
const answerFailed = "failed"

// maxRequest is how long a request may be.
const maxRequest = 4 << 20

// exec starts a command beside the container's, for the one at the other end of conn.
func (r *running) exec(conn *net.UnixConn, p *sandbox.Process, request string) error {
	var e Exec
	if err := json.Unmarshal([]byte(request), &e); err != nil {
		return err
	}
	s := r.execSpec(&e)
	ends, err := e.open(s)
	if err != nil {
		return errors.Join(err, ends.close())
	}
	started, err := r.box.Join(context.Background(), p, s)
	if err = errors.Join(err, closeAll(ends.theirs)); err != nil {
		err = errors.Join(err, closeAll(ends.ours))
		if not := (*sandbox.CommandError)(nil); errors.As(err, &not) {
			return say(conn, fmt.Sprintf("%s %d %v", answerFailed, not.Code, not))
		}
		return err
	}
	if started.Terminal() != nil {
		ends.ours = []*os.File{started.Terminal()}
	}
	var rights []byte
	if len(ends.ours) > 0 {
		fds := make([]int, len(ends.ours))
		for i, f := range ends.ours {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	// Who asked may be gone: the command runs all the same.
	_, _, _ = conn.WriteMsgUnix([]byte(answerOK+"\n"), rights, nil)
	err = closeAll(ends.ours)
	status := 0
	werr := started.Wait()
	if exit := (*sandbox.ExitError)(nil); errors.As(werr, &exit) {
		status, werr = exit.Code, nil
	}
	if err = errors.Join(err, werr); err != nil {
		return err
	}
	return say(conn, fmt.Sprintf("%s %d", answerExited, status))
}

// say writes one line; the other end may have gone.
func say(conn *net.UnixConn, line string) error {
	_, _ = io.WriteString(conn, strings.ReplaceAll(line, "\n", " ")+"\n")
	return nil
}

// execSpec is the sandbox's word for a command beside the container's.
func (r *running) execSpec(e *Exec) *sandbox.Spec {
	c := &r.config
	with := *c
	with.Terminal = e.Terminal
	s := &sandbox.Spec{
		Args: e.Args, Env: merge(with.environment(), e.Env), Dir: or(e.Dir, c.Run.WorkingDir, "/"), User: or(e.User, c.Run.User),
		Terminal: e.Terminal, Rows: e.Rows, Columns: e.Columns,
	}
	c.Surroundings.write(s)
	if e.Privileged && !s.Insecure {
		s.Capabilities = sandbox.Capabilities{Add: []string{"ALL"}}
	}
	s.Network = r.network
	return s
}

// ends are both ends of what a command is connected to.
type ends struct{ theirs, ours []*os.File }

func (e *ends) close() error { return errors.Join(closeAll(e.theirs), closeAll(e.ours)) }

func closeAll(files []*os.File) error {
	var err error
	for _, f := range files {
		if cerr := f.Close(); !errors.Is(cerr, os.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	return err
}

// open makes the pipes that connect a command without a terminal: its standard
// input, where it has one, output and error output.
func (e *Exec) open(s *sandbox.Spec) (*ends, error) {
	made := &ends{}
	if e.Terminal || e.Detached {
		return made, nil
	}
	for i := range 3 {
		if i == 0 && !e.Interactive {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return made, err
		}
		if i == 0 {
			s.Stdin = r
			made.theirs, made.ours = append(made.theirs, r), append(made.ours, w)
			continue
		}
		if i == 1 {
			s.Stdout = w
		} else {
			s.Stderr = w
		}
		made.theirs, made.ours = append(made.theirs, w), append(made.ours, r)
	}
	return made, nil
}

// Exec runs one more command in a running container, and returns its exit status. A
// command that cannot be executed has one, and an error besides.
func (c *Container) Exec(e Exec, streams Streams) (status int, err error) {
	if e.Terminal && streams.In != nil {
		e.Rows, e.Columns, _ = sys.WindowSize(streams.In)
	}
	request, err := json.Marshal(e)
	if err != nil {
		return StatusFailed, err
	}
	conn, ok, err := c.dial(askExec + " " + string(request))
	if err != nil {
		return StatusFailed, err
	}
	if !ok {
		return StatusFailed, c.errNotRunning()
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	line, files, err := receive(conn)
	if err != nil {
		return StatusFailed, c.errNotRunning()
	}
	defer func() { err = errors.Join(err, closeAll(files)) }()
	if text, failed := strings.CutPrefix(line, answerFailed+" "); failed {
		var code int
		_, _ = fmt.Sscan(text, &code)
		_, message, _ := strings.Cut(text, " ")
		return code, errors.New(message)
	}
	if line != answerOK {
		return StatusFailed, errors.New(line)
	}
	if e.Detached {
		return 0, nil
	}
	return e.attend(conn, files, streams)
}

// attend copies between the command and the streams until it has ended.
func (e *Exec) attend(conn *net.UnixConn, files []*os.File, streams Streams) (status int, err error) {
	var outputs sync.WaitGroup
	want := 2
	if e.Terminal {
		want = 1
	}
	input := len(files) > want
	if len(files) < want || input && !e.Interactive {
		return StatusFailed, fmt.Errorf("the container answered with %d descriptors", len(files))
	}
	out := files[len(files)-want:]
	outputs.Go(func() { _, _ = io.Copy(streams.Out, out[0]) }) // the end of a terminal is EIO
	if !e.Terminal {
		outputs.Go(func() { _, _ = io.Copy(streams.Err, out[1]) })
	}
	if e.Interactive && streams.In != nil {
		to := files[0]
		if e.Terminal {
			restore, rerr := sys.MakeRaw(streams.In)
			if rerr != nil {
				return StatusFailed, rerr
			}
			defer func() { err = errors.Join(err, restore()) }()
			defer follow(streams.In, to)()
		}
		// This one ends with the program: nobody can interrupt a read of a terminal.
		go func() {
			_, _ = io.Copy(to, streams.In)
			if !e.Terminal {
				_ = to.Close()
			}
		}()
	}
	status = 128 + int(unix.SIGKILL) // where the container ends, and this command with it
	answer, rerr := bufio.NewReader(conn).ReadString('\n')
	if rerr == nil {
		if _, err := fmt.Sscanf(answer, answerExited+" %d\n", &status); err != nil {
			return StatusFailed, errors.New(strings.TrimSpace(answer))
		}
	}
	drain(&outputs)
	return status, nil
}

// drain waits for what has been written, but not for processes that stay and keep the output open.
func drain(outputs *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		outputs.Wait()
		close(done)
	}()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
