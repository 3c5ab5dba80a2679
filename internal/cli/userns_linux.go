package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv marks the process that runs inside the user namespace.
const insideEnv = "BUILDER_INSIDE_USERNS"

// asRoot sees to it that the command runs as root of a user namespace, with the
// subordinate IDs of the user, where the user is not root already. Then the
// command runs in a second process, whose status it returns; inside is false.
func (g *globals) asRoot() (inside bool, err error) {
	if err := waitForIDs(); err != nil {
		return false, err
	}
	if os.Geteuid() == 0 {
		return true, nil
	}
	if os.Getenv(insideEnv) != "" {
		return false, errors.New("the user namespace has no root: newuidmap did not map this user")
	}
	root, err := g.rootDir()
	if err != nil {
		return false, err
	}
	// A path of /proc would not lead to this binary in the namespace's own /proc.
	self, err := os.Executable()
	if err != nil {
		return false, fmt.Errorf("find own binary: %w", err)
	}
	wait, begin, err := os.Pipe()
	if err != nil {
		return false, fmt.Errorf("start user namespace: %w", err)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"="+insideWaits, "BUILDER_ROOT="+root)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{wait}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	return false, supervise(cmd, wait, begin)
}

// supervise starts the command, maps its IDs, lets it begin, and waits.
func supervise(cmd *exec.Cmd, wait, begin *os.File) error {
	// The child dies with the thread that started it: this one stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	defer signal.Stop(signals)
	err := cmd.Start()
	if cerr := wait.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return usage("a user namespace cannot be made: %v", err).WithHint("allow unprivileged user namespaces (sysctl user.max_user_namespaces), or run as root")
	}
	if err = mapIDs(cmd.Process.Pid); err == nil {
		_, err = begin.Write([]byte{1})
	}
	err = errors.Join(err, begin.Close())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			// The terminal sends its signals to both; the rest is passed on.
			if s == unix.SIGTERM || s == unix.SIGHUP || !inForeground() {
				_ = cmd.Process.Signal(s) // it may have ended meanwhile
			}
		case werr := <-done:
			if err != nil {
				return err
			}
			if exit, ok := errors.AsType[*exec.ExitError](werr); ok {
				return &exitError{status: exitStatus(exit)}
			}
			return werr
		}
	}
}

// inForeground reports whether what is typed at a terminal signals this process.
func inForeground() bool {
	terminal, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer terminal.Close()
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

func exitStatus(e *exec.ExitError) int {
	if ws, ok := e.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return e.ExitCode()
}

// mapIDs gives a process's user namespace the user as root and the user's
// subordinate IDs from 1 on.
func mapIDs(pid int) error {
	me, err := user.Current()
	if err != nil {
		return fmt.Errorf("map IDs: %w", err)
	}
	for _, m := range []struct{ tool, file, own string }{
		{"newuidmap", "/etc/subuid", me.Uid}, {"newgidmap", "/etc/subgid", me.Gid},
	} {
		args := []string{strconv.Itoa(pid), "0", m.own, "1"}
		next := 1
		ranges, err := subordinate(m.file, me)
		if err != nil {
			return err
		}
		for _, r := range ranges {
			args = append(args, strconv.Itoa(next), strconv.Itoa(r[0]), strconv.Itoa(r[1]))
			next += r[1]
		}
		if out, err := exec.Command(m.tool, args...).CombinedOutput(); err != nil {
			text := strings.TrimSpace(string(out))
			if text == "" {
				text = err.Error()
			}
			return usage("%s: %s", m.tool, text).WithHint("install newuidmap (Debian: uidmap) and give the user a range in %s", m.file)
		}
	}
	return nil
}

// subordinate reads a user's ranges of a subuid(5) file: first ID and count.
func subordinate(path string, me *user.User) ([][2]int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage("%v", err).WithHint("a build as a plain user needs subordinate IDs: see subuid(5)")
	}
	defer f.Close()
	var ranges [][2]int
	lines := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) != 3 || (fields[0] != me.Username && fields[0] != me.Uid) {
			continue
		}
		first, err1 := strconv.Atoi(fields[1])
		count, err2 := strconv.Atoi(fields[2])
		if err1 == nil && err2 == nil && count > 0 {
			ranges = append(ranges, [2]int{first, count})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(ranges) == 0 {
		return nil, usage("%s has no range for %s", path, me.Username).WithHint("add one: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", me.Username)
	}
	return ranges, nil
}

// The values of insideEnv: the process waits for its IDs, and has them.
const (
	insideWaits = "1"
	insideReady = "2"
)

// waitForIDs blocks the process inside until its IDs are mapped, and then
// executes the program anew: one that was executed before it was root has none of
// root's capabilities.
func waitForIDs() error {
	switch os.Getenv(insideEnv) {
	case insideReady:
		// Gaining capabilities forgot the signal.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return fmt.Errorf("follow parent: %w", err)
		}
		if os.Getppid() == 1 {
			return &exitError{status: 1} // it is gone already
		}
		return nil
	case insideWaits:
	default:
		return nil
	}
	begin := os.NewFile(3, "begin")
	var b [1]byte
	n, err := begin.Read(b[:])
	if cerr := begin.Close(); err == nil {
		err = cerr
	}
	if n != 1 {
		return &exitError{status: 1} // the other process says why
	}
	if err != nil {
		return fmt.Errorf("wait for the user namespace: %w", err)
	}
	if err := os.Setenv(insideEnv, insideReady); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own binary: %w", err)
	}
	return fmt.Errorf("enter user namespace: %w", unix.Exec(self, os.Args, os.Environ()))
}
