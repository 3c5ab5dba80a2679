package sandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"builder/executor/sandbox"
)

// lines gives what is written to it line by line.
func lines(t *testing.T) (io.Writer, *bufio.Scanner) {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	})
	return w, bufio.NewScanner(r)
}

// A cancelled command is gone within a second, with what it started in the background.
func TestCancel(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	out, said := lines(t)
	s := b.spec("sh", "-c", "sleep 1000 & setsid sleep 1000 & echo ready; trap '' TERM INT; wait")
	s.Stdout = out
	p, err := b.Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if !said.Scan() {
		t.Fatal("the command says nothing")
	}
	stop, began := errors.New("enough"), time.Now()
	cancel(stop)
	if err := p.Wait(); !errors.Is(err, stop) {
		t.Errorf("got %v, want the cause", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
	if err := b.Run(ctx, b.fresh(t).spec("true")); !errors.Is(err, stop) {
		t.Errorf("a command starts in an ended context: %v", err)
	}
}

// What a command leaves in the background ends with it.
func TestBackgroundEnds(t *testing.T) {
	b := newBench(t)
	began := time.Now()
	if out, err := b.output(t, b.spec("sh", "-c", "sleep 1000 & setsid sleep 1000 & exit 0")); err != nil {
		t.Error(out, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// childEnv has this test program be the parent of a command, to be killed.
const childEnv = "SANDBOX_TEST_PARENT"

// TestParent is run by [TestKilledParent] in a process of its own.
func TestParent(t *testing.T) {
	marker := os.Getenv(childEnv)
	if marker == "" {
		t.Skip("only as a child of TestKilledParent")
	}
	b := newBench(t)
	command := "echo ready; exec sleep " + marker
	if os.Getenv("SANDBOX_TEST_SETUID") != "" {
		// The kernel forgets the signal at the parent's death where a process changes its user.
		write(t, filepath.Join(b.lower, "etc/passwd"), passwd, 0o644)
		command = "exec su -s /bin/sh app -c '" + command + "'"
	}
	s := b.spec("sh", "-c", command)
	s.Init = os.Getenv("SANDBOX_TEST_INIT") != ""
	s.User = os.Getenv("SANDBOX_TEST_USER")
	s.Stdout = os.Stdout
	if err := b.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// A command dies with the process that started it, even if that is killed.
func TestKilledParent(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	for i, env := range []string{"X=", "SANDBOX_TEST_INIT=1", "SANDBOX_TEST_USER=1000", "SANDBOX_TEST_SETUID=1"} {
		marker := fmt.Sprint(987600000 + os.Getpid()%10000*10 + i)
		c := exec.Command("/proc/self/exe", "-test.run=^TestParent$", "-test.v")
		dir := t.TempDir()
		c.Env = append(os.Environ(), childEnv+"="+marker, env, "TMPDIR="+dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewScanner(out)
		ready := false
		for !ready && said.Scan() {
			ready = said.Text() == "ready"
		}
		if !ready {
			t.Fatalf("%s: the command did not begin", env)
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		// The command holds the pipe open as long as it lives.
		dead := make(chan struct{})
		go func() {
			for said.Scan() {
				continue
			}
			close(dead)
		}()
		select {
		case <-dead:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the command lives on", env)
		}
		if err := c.Wait(); err == nil {
			t.Error("the parent was not killed")
		}
		if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
			t.Errorf("left mounted: %s, %v", mounts, err)
		}
	}
}

// Nothing stays open in the parent, and nothing of the parent's is open in the command.
func TestNoDescriptorLeaks(t *testing.T) {
	b := newBench(t)
	secret, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	if _, err := unix.FcntlInt(secret.Fd(), unix.F_SETFD, 0); err != nil { // as if somebody had forgotten O_CLOEXEC
		t.Fatal(err)
	}
	run := func(args ...string) string {
		b := b.fresh(t)
		s := b.spec(args...)
		s.Mounts = []sandbox.Mount{{Target: "/a/b", Source: b.lower}}
		out, err := b.output(t, s)
		if err != nil && args[0] != "missing" {
			t.Error(out, err)
		}
		return out
	}
	if out := run("ls", "/proc/self/fd"); strings.TrimSpace(out) != "0\n1\n2\n3" { // 3 is the directory itself
		t.Errorf("the command has %q", out)
	}
	before := descriptors(t)
	for range 3 {
		run("true")
		run("missing")
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, before it were %d", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A working directory that is a descriptor of the host's leads nowhere.
func TestDirThroughDescriptor(t *testing.T) {
	b := newBench(t)
	for fd := range 40 {
		b := b.fresh(t)
		s := b.spec("sh", "-c", "cat ../../etc/hostname ../../../etc/hostname; ls -d ../../work")
		s.Dir = fmt.Sprintf("/proc/self/fd/%d", fd)
		if out, err := b.output(t, s); err == nil {
			t.Errorf("%s: %s", s.Dir, out)
		}
	}
}

// A hostile image cannot have anything made, mounted or removed outside itself.
func TestHostileRoot(t *testing.T) {
	host := t.TempDir()
	victim := filepath.Join(host, "victim")
	write(t, victim, "", 0o644)
	up := strings.Repeat("../", 30)
	for name, links := range map[string]map[string]string{
		"resolv.conf leads up":      {"etc/resolv.conf": up + victim},
		"resolv.conf is absolute":   {"etc/resolv.conf": filepath.Join(host, "new")},
		"etc is a link":             {"etc": up + host},
		"etc is a link to itself":   {"etc": "etc"},
		"proc is a link":            {"proc": host},
		"sys is a link":             {"sys": "bin"},
		"dev is a link":             {"dev": up + host},
		"the directory leads up":    {"work": up + host},
		"the mount point leads up":  {"data": host},
		"passwd leads to a device":  {"etc/passwd": "/dev/zero"},
		"group leads out":           {"etc/group": "/proc/self/fd/1"},
		"a magic link as a parent":  {"data": "/proc/self/root"},
		"a working directory's dir": {"work": "/proc/self/cwd"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for at, target := range links {
				at = filepath.Join(b.lower, at)
				if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink(target, at)); err != nil {
					t.Fatal(err)
				}
			}
			s := b.spec("sh", "-c", "echo x > /data/here/file; cat /etc/resolv.conf")
			s.Dir = "/work/dir"
			s.User = "app"
			s.Mounts = []sandbox.Mount{{Target: "/data/here", Source: t.TempDir()}}
			out, err := b.output(t, s)
			t.Log(out, err)
			again := b.fresh(t).spec("sh", "-c", "echo x > /data/here/file")
			again.Dir, again.Mounts = "/work/dir", s.Mounts
			out, err = b.output(t, again)
			t.Log(out, err)
			entries, err := os.ReadDir(host)
			if err != nil || len(entries) != 1 {
				t.Errorf("the host has %v, %v", entries, err)
			}
			if data, err := os.ReadFile(victim); err != nil || len(data) != 0 {
				t.Errorf("the victim holds %q, %v", data, err)
			}
		})
	}
}

// A FIFO in the place of /etc/passwd does not keep anybody waiting.
func TestPasswdIsPipe(t *testing.T) {
	b := newBench(t)
	if err := errors.Join(os.Mkdir(filepath.Join(b.lower, "etc"), 0o755), syscall.Mkfifo(filepath.Join(b.lower, "etc/passwd"), 0o644)); err != nil {
		t.Fatal(err)
	}
	s := b.spec("true")
	s.User = "app"
	if _, err := b.output(t, s); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestUnknownUser(t *testing.T) {
	b := newBench(t)
	s := b.spec("true")
	s.User = "nobody-here"
	if _, err := b.output(t, s); err == nil || !strings.Contains(err.Error(), `user "nobody-here"`) {
		t.Errorf("got %v", err)
	}
}

func TestTerminal(t *testing.T) {
	for _, init := range []bool{false, true} {
		b := newBench(t)
		s := b.spec("sh", "-c", "tty; stty size; read line; stty size; stat -c %u /dev/pts/0; test -c /dev/console && echo got $line > /dev/tty")
		s.Terminal, s.Init, s.User = true, init, "1000"
		s.Rows, s.Columns = 22, 88
		p, err := b.Start(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		size := make([]byte, len("/dev/pts/0\r\n22 88\r\n"))
		if _, err := io.ReadFull(p.Terminal(), size); err != nil || !strings.HasSuffix(string(size), "\n22 88\r\n") {
			t.Errorf("%q, %v", size, err)
		}
		if err := p.Resize(33, 99); err != nil {
			t.Error(err)
		}
		if _, err := p.Terminal().Write([]byte("text\n")); err != nil {
			t.Error(err)
		}
		var out bytes.Buffer
		// The end of a terminal is EIO.
		if _, err := io.Copy(&out, p.Terminal()); !errors.Is(err, unix.EIO) {
			t.Error(err)
		}
		if err := errors.Join(p.Wait(), p.Terminal().Close()); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"33 99\r\n", "1000\r\n", "got text\r\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("init %v: %q is missing in %q", init, want, out.String())
			}
		}
	}
}

// Init passes signals on and collects orphans; the command is not process 1.
func TestInit(t *testing.T) {
	b := newBench(t)
	out, said := lines(t)
	s := b.spec("sh", "-c", "trap 'exit 7' TERM; (true &); echo $$; sleep 1000 & wait")
	s.Init, s.Stdout = true, out
	p, err := b.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if !said.Scan() || said.Text() == "1" {
		t.Errorf("the command is process %q", said.Text())
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	var exit *sandbox.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.Code != 7 {
		t.Errorf("got %v", err)
	}
}

// Whoever is root inside cannot reach the program that init is.
func TestInitIsOutOfReach(t *testing.T) {
	b := newBench(t)
	s := b.spec("sh", "-c", "readlink /proc/1/exe; cat /proc/1/exe | wc -c; cat /proc/1/environ; cat /proc/1/fd/*")
	s.Init = true
	out, err := b.output(t, s)
	if n := strings.Count(out, "Permission denied"); n < 2 || strings.Contains(out, "test") {
		t.Errorf("got %v: %s", err, out)
	}
}

// The first commands of a sandbox, started at the same time, share its files
// without taking them away from each other.
func TestFirstCommandsAtOnce(t *testing.T) {
	for range 8 {
		b := newBench(t)
		var group errgroup.Group
		for range 6 {
			s := b.fresh(t).spec("cat", "/etc/hosts", "/etc/resolv.conf")
			group.Go(func() error { return b.Run(t.Context(), s) })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}
