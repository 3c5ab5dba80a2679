package sandbox

import (
	"errors"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// runInit is the first process of a sandbox with [Spec.Init]: it makes the program's calls up
// to the execution, starts the command as its child, passes signals on and collects orphans. It
// returns the command's exit status, with 128 added to a signal's number.
func runInit(ops []op, im *image) int {
	if failed := interpret(ops[:im.ExecAt], im.Files, syscallOnAllThreads); failed < im.ExecAt {
		report(ops, failed)
		return 125
	}
	// Who is inside must not reach this program through /proc/1/exe.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 125
	}
	// The Go runtime would give the command the limit that this process had at first.
	var files syscall.Rlimit
	if err := errors.Join(syscall.Getrlimit(unix.RLIMIT_NOFILE, &files), syscall.Setrlimit(unix.RLIMIT_NOFILE, &files)); err != nil {
		return 125
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	pid, failed := startCommand(ops, im)
	if pid == 0 {
		report(ops, failed)
		return 125
	}
	if err := unix.Close(statusDescriptor); err != nil {
		return 125
	}
	ended := make(chan int)
	go func() { ended <- collect(pid) }()
	for {
		select {
		case s := <-signals:
			forward(pid, s)
		case code := <-ended:
			return code
		}
	}
}

// startCommand starts the command as the program would execute it; failed is the
// last call that was tried.
func startCommand(ops []op, im *image) (pid, failed int) {
	attr := &syscall.ProcAttr{Env: im.Env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	switch {
	case im.Joins:
		attr.Sys = &syscall.SysProcAttr{Setsid: true, Setctty: im.Terminal, Ctty: 0}
	case im.Terminal:
		attr.Sys.Foreground, attr.Sys.Ctty = true, 0
	}
	for i := im.ExecAt; i < len(ops); i++ {
		o := &ops[i]
		if o.nr != unix.SYS_EXECVE {
			err := unix.Faccessat(unix.AT_FDCWD, im.Execs[i+1], unix.X_OK, unix.AT_EACCESS)
			if errno := syscall.Errno(0); errors.As(err, &errno) {
				o.result = -int64(errno)
				i += int(o.skip)
			}
			continue
		}
		pid, err := syscall.ForkExec(im.Execs[i], im.Args, attr)
		if err == nil {
			return pid, 0
		}
		errno := syscall.Errno(0)
		if !errors.As(err, &errno) {
			errno = unix.EIO
		}
		o.result = -int64(errno)
		if !o.tolerates(errno) {
			return 0, i
		}
	}
	return 0, len(ops)
}

// collect waits for children until the one called pid has ended, and returns its status.
func collect(pid int) int {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 125
		case got == pid && status.Signaled():
			return 128 + int(status.Signal())
		case got == pid && status.Exited():
			return status.ExitStatus()
		}
	}
}

// forward passes a signal on to the command's process group.
func forward(pid int, s os.Signal) {
	sig, ok := s.(syscall.Signal)
	switch {
	case !ok, sig == unix.SIGCHLD, sig == unix.SIGURG, sig == unix.SIGPIPE:
		// The first is init's own; the Go runtime sends itself the second.
		return
	}
	// It may have ended just now.
	_ = unix.Kill(-pid, sig)
}

// lookUp is the candidates for a command, in the order of PATH.
func lookUp(name, searchPath string) []string {
	if name == "" {
		return nil
	}
	if strings.Contains(name, "/") {
		return []string{name}
	}
	var list []string
	for _, dir := range strings.Split(searchPath, ":") {
		if path.IsAbs(dir) { // a command in the working directory is not found by accident
			list = append(list, path.Join(dir, name))
		}
	}
	return list
}
