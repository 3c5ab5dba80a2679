package sandbox_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"builder/executor/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// busybox makes a root directory with a shell and the usual tools.
func busybox(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("busybox-static is needed: %v", err)
	}
	root := t.TempDir()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "bin/busybox"), string(data), 0o755)
	out, err := exec.Command(program, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(out)) {
		if name == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func write(t testing.TB, name, data string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

// bench is a sandbox and an overlay above a busybox root.
type bench struct {
	*sandbox.Sandbox
	lower, upper, work string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: [TestUserNamespace] runs these in a user namespace")
	}
	s, err := sandbox.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &bench{Sandbox: s, lower: busybox(t), upper: t.TempDir(), work: t.TempDir()}
}

// fresh is the bench with an empty upper layer.
func (b *bench) fresh(t *testing.T) *bench {
	t.Helper()
	return &bench{Sandbox: b.Sandbox, lower: b.lower, upper: t.TempDir(), work: t.TempDir()}
}

func (b *bench) spec(args ...string) *sandbox.Spec {
	return &sandbox.Spec{
		Root: sandbox.Root{Lower: []string{b.lower}, Upper: b.upper, Work: b.work, Writable: true, UserXattr: os.Getenv(userNSEnv) != ""},
		Args: args,
		Env:  []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
	}
}

// output runs a command and returns what it writes.
func (b *bench) output(t *testing.T, spec *sandbox.Spec) (string, error) {
	t.Helper()
	var out bytes.Buffer
	spec.Stdout, spec.Stderr = &out, &out
	err := b.Run(t.Context(), spec)
	return out.String(), err
}
