package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// insideVar tells the program that it is the one in the namespaces, and where
// the state goes.
const insideVar = "BUILDER_BENCH_DIR"

// enter runs the program again in a mount and a process namespace of its own.
// The second one is that namespace's first process: its end is the end of all
// that it started.
func enter(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can measure: the run mounts its own file system")
	}
	dir, err := os.MkdirTemp("", "builder-bench.")
	if err != nil {
		return err
	}
	defer os.Remove(dir) // empty: what was mounted there went with the namespace
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVar+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNS,
		Cloneflags:   syscall.CLONE_NEWPID,
		Pdeathsig:    syscall.SIGKILL,
		Setpgid:      true, // an interrupt comes through us, once
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("enter namespaces: %w", err)
	}
	done := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer done()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	return nil
}

// mountState gives the run its own /proc, and a file system at dir whose
// directory "state" is on the kind of file system to be measured.
func mountState(ctx context.Context, kind, dir string) error {
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size=80%"); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil || kind == "tmpfs" {
		return err
	}
	file := filepath.Join(dir, "ext4")
	for _, args := range [][]string{
		{"truncate", "-s", "12G", file},
		{"mkfs.ext4", "-q", "-N", "2000000", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", file},
		{"mount", "-o", "loop,noatime", file, state},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// machine says where and of what the figures are.
func machine(ctx context.Context, fs string) string {
	const script = `printf 'Linux %s, %s cores (%s), load %s at the start; commit %s, %s' "$(uname -rm)" "$(nproc)" \
	"$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$(cut -d ' ' -f 1 /proc/loadavg)" \
	"$(git describe --always --dirty --abbrev=12 --exclude '*')" "$(date -u +%F)"`
	out, err := exec.CommandContext(ctx, "sh", "-c", script).Output()
	if err != nil {
		return err.Error()
	}
	return string(out) + "; state on " + fs
}
