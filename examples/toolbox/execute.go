package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
)

// ownPrefix marks a command as one of ours although the interpreter knows the
// name as a built-in that it does not implement.
const ownPrefix = "toolbox:"

// defaultPath is where commands are searched for without a PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// redirectBuiltin sends the built-ins that the interpreter lacks to our tools.
func redirectBuiltin(_ context.Context, args []string) ([]string, error) {
	switch args[0] {
	case "kill", "umask":
		args[0] = ownPrefix + args[0]
	case "hash": // there is no table of commands to forget
		args = []string{"true"}
	}
	return args, nil
}

// execute runs a command of the shell that is neither function nor built-in.
func execute(ctx context.Context, args []string) error {
	shell := interp.HandlerCtx(ctx)
	p := &process{
		ctx: ctx, dir: shell.Dir, environ: exported(shell.Env),
		in: shell.Stdin, stdout: shell.Stdout, err: shell.Stderr,
	}
	if status := p.start("sh", args); status != 0 {
		return interp.ExitStatus(status)
	}
	return nil
}

func exported(env expand.Environ) []string {
	var list []string
	env.Each(func(name string, v expand.Variable) bool {
		if v.Exported && v.Kind == expand.String {
			list = append(list, name+"="+v.Str)
		}
		return true
	})
	return list
}

// start runs a command with p's streams, directory and environment and returns
// its status: one of our tools in this process, anything else in its own.
// Faults are reported under the name by.
func (p *process) start(by string, args []string) int {
	name, own := strings.CutPrefix(args[0], ownPrefix)
	path, err := "", error(nil)
	if !own {
		path, err = p.search(name)
	}
	run := lookup(filepath.Base(name))
	if run != nil && (own || path != "" && isSelf(p.path(path)) || errors.Is(err, exec.ErrNotFound) && !strings.Contains(name, "/")) {
		child := *p
		child.name, child.args, child.status = name, args[1:], 0
		return child.run(run)
	}
	if err != nil {
		fmt.Fprintf(p.err, "%s: %s: %s\n", by, name, reason(err))
		if errors.Is(err, exec.ErrNotFound) {
			return 127
		}
		return 126
	}
	return p.spawn(by, path, args)
}

// search looks name up in PATH, or takes it as a path if it has a slash.
func (p *process) search(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(p.path(name)) // relative, as the program will see it
	}
	denied := error(nil)
	list := p.getenv("PATH")
	if list == "" {
		list = defaultPath
	}
	for _, dir := range filepath.SplitList(list) {
		path := p.path(filepath.Join(dir, name))
		switch err := executable(path); {
		case err == nil:
			return path, nil
		case !errors.Is(err, exec.ErrNotFound):
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", exec.ErrNotFound
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return exec.ErrNotFound
	case err != nil:
		return err
	case info.IsDir():
		return syscall.EISDIR
	case info.Mode()&0o111 == 0:
		return os.ErrPermission
	}
	return nil
}

// isSelf tells whether path is this program.
func isSelf(path string) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil { // no /proc: the first word of the command line must do
		self, err = os.Stat(os.Args[0])
	}
	if err != nil {
		return false
	}
	other, err := os.Stat(path)
	return err == nil && os.SameFile(self, other)
}

// spawn runs the program at path. A text file that the kernel does not know
// how to run is a shell script.
func (p *process) spawn(by, path string, args []string) int {
	err := p.spawnOnce(path, args)
	if errors.Is(err, syscall.ENOEXEC) {
		script := append([]string{"sh", path}, args[1:]...)
		if err = p.spawnOnce("/bin/sh", script); errors.Is(err, os.ErrNotExist) {
			err = p.spawnOnce("/proc/self/exe", script)
		}
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal())
		}
		return exit.ExitCode()
	}
	fmt.Fprintf(p.err, "%s: %s: %s\n", by, args[0], reason(err))
	if errors.Is(err, os.ErrNotExist) { // the interpreter of a script is missing
		return 127
	}
	return 126
}

func (p *process) spawnOnce(path string, args []string) error {
	cmd := exec.CommandContext(p.ctx, path)
	cmd.Args = args
	cmd.Dir = p.dir
	cmd.Env = p.environ
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = file(p.in), p.stdout, p.err
	return cmd.Run()
}

// file keeps a nil reader from becoming a pipe to nobody.
func file(r io.Reader) io.Reader {
	if f, ok := r.(*os.File); ok && f == nil {
		return nil
	}
	return r
}

// reason is the part of an error that says why, without the operation.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "not found"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return plain(err)
}
