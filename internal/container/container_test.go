package container_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"builder/executor/sandbox"
	"builder/image"
	"builder/internal/container"
	"builder/snapshot"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// oneTree hands out one directory as the only tree there is; what runs in it does not
// touch it.
type oneTree struct {
	snapshot.Snapshotter
	lower string
}

type active struct {
	snapshot.Active
	mount snapshot.Mount
	dir   string
}

func (a active) Mount() snapshot.Mount { return a.mount }

func (o *oneTree) Keep(_ context.Context, _ snapshot.ID, dir string) (snapshot.Active, error) {
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	return active{
		mount: snapshot.Mount{Lower: []string{o.lower}, Upper: upper, Work: work, Writable: true}, dir: dir,
	}, errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755))
}

type bench struct {
	*container.Store
	trees *oneTree
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	trees := &oneTree{lower: t.TempDir()}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("busybox-static is needed: %v", err)
	}
	bin := filepath.Join(trees.lower, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", busybox, filepath.Join(bin, "busybox")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"sh", "cat", "echo", "env", "sort", "sleep", "hostname", "id", "pwd", "stat", "true", "touch", "grep", "stty"} {
		if err := os.Symlink("busybox", filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 1 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return &bench{&container.Store{Snapshots: trees, Dir: dir, Volumes: filepath.Join(t.TempDir(), "volumes")}, trees}
}

// start runs a container to its end and removes it.
func (b *bench) start(ctx context.Context, spec *container.Spec, streams container.Streams) (status int, err error) {
	c, err := b.Create(ctx, container.New{Spec: spec, Config: container.Config{Run: spec.Config, AutoRemove: true, StopTimeout: 10}})
	if err != nil {
		return container.StatusFailed, err
	}
	held, err := b.Hold(ctx, c)
	if err != nil {
		return container.StatusFailed, errors.Join(err, b.Remove(c, container.RemoveOptions{}))
	}
	return held.Run(ctx, streams)
}

func (b *bench) run(t *testing.T, spec *container.Spec) (out string, status int, err error) {
	t.Helper()
	var buf bytes.Buffer
	status, err = b.start(t.Context(), spec, container.Streams{Out: &buf, Err: &buf})
	return buf.String(), status, err
}

func TestCommand(t *testing.T) {
	b := newBench(t)
	config := image.RunConfig{Entrypoint: []string{"echo", "e"}, Cmd: []string{"c"}}
	for name, test := range map[string]struct {
		spec   container.Spec
		out    string
		status int
	}{
		"the image's":                {container.Spec{Config: config}, "e c\n", 0},
		"other arguments":            {container.Spec{Config: config, Args: []string{"a"}}, "e a\n", 0},
		"another entrypoint":         {container.Spec{Config: config, Entrypoint: []string{"pwd"}}, "/\n", 0},
		"no entrypoint":              {container.Spec{Config: config, Entrypoint: []string{""}, Args: []string{"echo", "a"}}, "a\n", 0},
		"nothing at all":             {container.Spec{}, "", 125},
		"a status":                   {container.Spec{Args: []string{"sh", "-c", "exit 42"}}, "", 42},
		"a signal":                   {container.Spec{Args: []string{"sh", "-c", "kill -9 $$"}}, "", 137},
		"a missing command":          {container.Spec{Args: []string{"missing"}}, "", 127},
		"a directory":                {container.Spec{Args: []string{"/bin"}}, "", 126},
		"an unknown user":            {container.Spec{Args: []string{"id"}, User: "nobody-here"}, "", 125},
		"the image's user":           {container.Spec{Config: image.RunConfig{User: "7:8"}, Args: []string{"id"}}, "uid=7 gid=8 groups=8\n", 0},
		"another user":               {container.Spec{Config: image.RunConfig{User: "7:8"}, User: "9:9", Args: []string{"id"}}, "uid=9 gid=9 groups=9\n", 0},
		"the image's directory":      {container.Spec{Config: image.RunConfig{WorkingDir: "/w"}, Args: []string{"pwd"}}, "/w\n", 0},
		"the host's name":            {container.Spec{Hostname: "box", Args: []string{"hostname"}}, "box\n", 0},
		"no standard input":          {container.Spec{Args: []string{"cat"}}, "", 0},
		"a stop signal nobody knows": {container.Spec{Config: image.RunConfig{StopSignal: "SIGNOPE"}, Args: []string{"true"}}, "", 125},
		"the environment": {
			container.Spec{
				Config: image.RunConfig{Env: []string{"A=image", "B=image"}}, Env: []string{"A=mine", "C=mine"}, Hostname: "box",
				Args: []string{"sh", "-c", "env | grep -v -e PWD -e SHLVL | sort"},
			},
			"A=mine\nB=image\nC=mine\nHOME=/\nHOSTNAME=box\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, status, err := b.run(t, &test.spec)
			if out != test.out || status != test.status {
				t.Errorf("got %q and %d (%v), want %q and %d", out, status, err, test.out, test.status)
			}
			if failed := err != nil; failed != (status >= 125 && status <= 127) {
				t.Errorf("status %d with error %v", status, err)
			}
		})
	}
}

func TestVolumes(t *testing.T) {
	b := newBench(t)
	data := filepath.Join(b.trees.lower, "data")
	if err := errors.Join(os.Mkdir(data, 0o750), os.Chown(data, 5, 6), os.WriteFile(filepath.Join(data, "first"), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	const look = "stat -c '%a %u %g' /data; echo /data/*; touch /data/more"
	named := &container.Spec{Volumes: []container.Volume{{Source: "vol", Target: "/data"}}, Args: []string{"sh", "-c", look}}
	anonymous := &container.Spec{Config: image.RunConfig{Volumes: map[string]struct{}{"/data": {}}}, Args: named.Args}
	for i, want := range []string{"750 5 6\n/data/first\n", "750 5 6\n/data/first /data/more\n"} {
		if out, status, err := b.run(t, named); out != want || status != 0 {
			t.Errorf("named volume, run %d: got %q, %d, %v", i, out, status, err)
		}
		if out, status, err := b.run(t, anonymous); out != "750 5 6\n/data/first\n" || status != 0 {
			t.Errorf("anonymous volume, run %d: got %q, %d, %v", i, out, status, err)
		}
	}
	host := filepath.Join(t.TempDir(), "made")
	bound := &container.Spec{
		Volumes: []container.Volume{{Source: host, Target: "/h"}, {Source: data, Target: "/h/ro", ReadOnly: true}},
		Args:    []string{"sh", "-c", "touch /h/new; touch /h/ro/new"},
	}
	if out, status, _ := b.run(t, bound); status != 1 || !strings.Contains(out, "Read-only") {
		t.Errorf("got %q, %d", out, status)
	}
	if _, err := os.Stat(filepath.Join(host, "new")); err != nil {
		t.Error(err)
	}
}

func TestParseVolume(t *testing.T) {
	for text, want := range map[string]container.Volume{
		"/a":         {Target: "/a"},
		"/h:/a/":     {Source: "/h", Target: "/a"},
		"name:/a:ro": {Source: "name", Target: "/a", ReadOnly: true},
		"./x:/a:rw":  {Source: "/dir/x", Target: "/a"},
	} {
		if got, err := container.ParseVolume(text, "/dir"); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a", "/", "/h:/", ":/a", "/h:a", "/h:/a:z", "../..:/:ro", "n/m:/a", "-x:/a", "a:/b:c:d"} {
		if got, err := container.ParseVolume(text, "/"); err == nil {
			t.Errorf("%q is accepted: %+v", text, got)
		}
	}
}

func TestTerminal(t *testing.T) {
	b := newBench(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("word\n"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	spec := &container.Spec{Args: []string{"sh", "-c", "read x; echo got $x $TERM"}, Terminal: true, Interactive: true}
	status, err := b.start(t.Context(), spec, container.Streams{In: r, Out: &out})
	if status != 0 || !strings.Contains(out.String(), "got word xterm\r\n") {
		t.Errorf("got %q, %d, %v", out.String(), status, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// notify cancels when it sees a line.
type notify struct{ seen func() }

func (n *notify) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "ready") {
		n.seen()
	}
	return len(b), nil
}

// A signal to this process reaches the command; the end of the context is its stop signal.
func TestSignals(t *testing.T) {
	b := newBench(t)
	spec := &container.Spec{
		Config: image.RunConfig{StopSignal: "USR2"},
		Args:   []string{"sh", "-c", "trap 'exit 11' USR1; trap 'exit 12' USR2; echo ready; sleep 1000 & wait"},
	}
	for want, act := range map[int]func(context.CancelFunc){
		11: func(context.CancelFunc) {
			if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
				t.Error(err)
			}
		},
		12: func(cancel context.CancelFunc) { cancel() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &notify{seen: func() { act(cancel) }}
		began := time.Now()
		status, err := b.start(ctx, spec, container.Streams{Out: out})
		if status != want || err != nil || time.Since(began) > 5*time.Second {
			t.Errorf("got %d, %v after %v, want %d", status, err, time.Since(began), want)
		}
		cancel()
	}
}

// Whoever has a container's lock is the only one to run or remove it, and the end
// of a process ends its lock.
func TestHold(t *testing.T) {
	b := newBench(t)
	spec := &container.Spec{Args: []string{"true"}}
	c, err := b.Create(t.Context(), container.New{Spec: spec, Config: container.Config{Name: "one"}})
	if err != nil {
		t.Fatal(err)
	}
	held, err := b.Hold(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Hold(t.Context(), c); err == nil {
		t.Error("held twice")
	}
	if err := b.Remove(c, container.RemoveOptions{}); err == nil {
		t.Error("removed while it is held")
	}
	if status, err := held.Run(t.Context(), container.Streams{}); status != 0 || err != nil {
		t.Errorf("got %d, %v", status, err)
	}
	if found, err := b.Find("one"); err != nil || found.Status != container.Exited {
		t.Errorf("got %+v, %v", found, err)
	}
	if err := os.Truncate(filepath.Join(b.Dir, c.ID, "state"), 20); err != nil {
		t.Fatal(err)
	}
	found, err := b.Find("one")
	if err != nil || found.Status != container.Dead {
		t.Errorf("with half a state: %+v, %v", found, err)
	}
	if _, err := b.Hold(t.Context(), found); err == nil {
		t.Error("a dead container can be run")
	}
	if err := b.Remove(found, container.RemoveOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := b.Find("one"); !errors.As(err, new(*container.NotFoundError)) {
		t.Errorf("got %v, want nothing", err)
	}
}
