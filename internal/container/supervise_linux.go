package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// answer is what a supervisor tells the process that started it when the
// command has begun, or could not.
type answer struct {
	Started bool
	Code    int
	Error   string
}

// Detach has the container run beside a process of its own, in a session of its
// own, and returns when the command has begun. command starts the program so that
// it calls [Supervise].
func (h *Held) Detach(command *exec.Cmd) (status int, err error) {
	defer func() { err = errors.Join(err, h.alive.Close()) }()
	data, err := json.Marshal(h.launch)
	if err != nil {
		return StatusFailed, err
	}
	words, err := os.OpenFile(filepath.Join(h.Dir, "supervisor"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return StatusFailed, err
	}
	command.Dir = "/"
	command.Stdin, command.Stderr = bytes.NewReader(data), words
	command.ExtraFiles = []*os.File{h.alive}
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, ours, err := os.Pipe()
	if err != nil {
		return StatusFailed, errors.Join(err, words.Close())
	}
	command.Stdout = ours
	err = command.Start()
	if err = errors.Join(err, ours.Close(), words.Close()); err != nil {
		return StatusFailed, errors.Join(fmt.Errorf("start supervisor: %w", err), pipe.Close())
	}
	var a answer
	err = json.NewDecoder(pipe).Decode(&a)
	err = errors.Join(err, pipe.Close())
	if err != nil {
		return StatusFailed, errors.Join(errors.New("the supervisor ended before the command had begun"), command.Wait())
	}
	if a.Started {
		return 0, command.Process.Release()
	}
	_ = command.Wait() // it has told why it ends
	return a.Code, errors.New(a.Error)
}

// aliveDescriptor is where a supervisor finds the lock of its container.
const aliveDescriptor = 3

// Supervise is the whole life of a supervisor: it is told on standard input what to
// run, answers on standard output, and then stays beside the command until that ends.
func Supervise() error {
	unix.CloseOnExec(aliveDescriptor)
	h := &Held{alive: os.NewFile(aliveDescriptor, aliveName)}
	if err := json.NewDecoder(os.Stdin).Decode(&h.launch); err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	if err := decode(configHeader, filepath.Join(h.Dir, configName), &h.config); err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	in, err := quietInput(h.config.Interactive)
	if err != nil {
		return err
	}
	defer in.Close()
	begun := false
	status, err := h.run(context.Background(), Streams{In: in}, func() {
		begun = true
		reply(answer{Started: true})
	})
	if !begun {
		a := answer{Code: status}
		if err != nil {
			a.Error = err.Error()
		}
		reply(a)
		return nil
	}
	return err
}

// reply answers and lets go of standard output. Whoever asked may be gone; the
// container runs all the same.
func reply(a answer) {
	_ = json.NewEncoder(os.Stdout).Encode(a)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		_ = os.Stdout.Close()
		return
	}
	_ = unix.Dup3(int(null.Fd()), 1, 0)
	_ = null.Close()
}

// quietInput is the standard input of a command that nobody is connected to: at its
// end, or one that never says anything.
func quietInput(open bool) (*os.File, error) {
	if !open {
		return os.Open("/dev/null")
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	// The other end stays open as long as this process lives.
	return os.NewFile(uintptr(fds[0]), "stdin"), nil
}
