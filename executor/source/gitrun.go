package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// gitTime bounds one run of git.
const gitTime = 30 * time.Minute

// git runs the program of that name for one remote, with a home of its own: no
// configuration, no hooks, no filters of the user's or the machine's.
type git struct {
	home, remote      string
	agent             string
	header, headerFor string
}

// passed are the variables of our environment that git gets, too.
var passed = []string{
	"PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
}

// run runs git in dir and returns what it prints. The error has what it says of
// what went wrong.
func (g *git) run(ctx context.Context, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, gitTime, fmt.Errorf("git took more than %v", gitTime))
	defer cancel()
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, g.env()
	if dir == "" {
		cmd.Dir = g.home
	}
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{buf: &out}, &limited{buf: &problem}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return out.String(), nil
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("repositories are read with the program git, which is not in PATH")
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	}
	text := strings.TrimSpace(problem.String())
	if text == "" {
		text = err.Error()
	}
	return "", fmt.Errorf("git %s: %s", args[0], text)
}

// env is all that git knows of its surroundings.
func (g *git) env() []string {
	env := []string{
		"HOME=" + g.home, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "SSH_ASKPASS=true", "GIT_ALLOW_PROTOCOL=http:https:git:ssh",
		"GIT_PROTOCOL_FROM_USER=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_SSH_COMMAND=" + g.ssh(), "GIT_SSH_VARIANT=ssh",
	}
	for _, name := range passed {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if g.agent != "" {
		env = append(env, "SSH_AUTH_SOCK="+g.agent)
	}
	config := [][2]string{
		{"core.hooksPath", "/dev/null"}, {"core.fsmonitor", "false"}, {"core.symlinks", "true"}, {"core.attributesFile", "/dev/null"},
		{"core.autocrlf", "false"}, {"core.protectHFS", "true"}, {"core.protectNTFS", "true"}, {"init.templateDir", ""}, {"init.defaultBranch", "master"},
		{"protocol.allow", "never"}, {"protocol.http.allow", "always"}, {"protocol.https.allow", "always"}, {"protocol.git.allow", "always"},
		{"protocol.ssh.allow", "always"}, {"credential.helper", ""}, {"http.followRedirects", "initial"},
		{"http.lowSpeedLimit", "1"}, {"http.lowSpeedTime", strconv.Itoa(int(stall.Seconds()))},
		{"gc.auto", "0"}, {"maintenance.auto", "false"}, {"pack.threads", "1"}, {"advice.detachedHead", "false"}, {"submodule.recurse", "false"},
	}
	if g.header != "" {
		config = append(config, [2]string{"http." + g.headerFor + ".extraHeader", g.header})
	}
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(config)))
	for i, c := range config {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, c[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, c[1]))
	}
	return env
}

// ssh is how git reaches hosts over SSH: with the agent that the build was given
// and no other key, to hosts that the user knows.
func (g *git) ssh() string {
	flags := "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ForwardAgent=no"
	if g.agent == "" {
		flags += " -o IdentityAgent=none"
	}
	return flags + " -o IdentityFile=/dev/null -o StrictHostKeyChecking=yes"
}

// limited keeps the first of what is written to it.
type limited struct{ buf *bytes.Buffer }

// maxOutput is how much git may have to say.
const maxOutput = 8 << 20

// Write implements [io.Writer].
func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.buf.Len(); room > 0 {
		l.buf.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
