package overlay_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"builder/snapshot"
	"builder/snapshot/overlay"
	"builder/snapshot/snapshottest"
)

// TestMain lets the test binary be the process that is killed: with CHURN set
// it uses the store in that directory for ever.
func TestMain(m *testing.M) {
	if base := os.Getenv("CHURN"); base != "" {
		err := snapshottest.ChurnForever(context.Background(), opener(os.Getenv("CHURN_USER") != ""), base, uint64(os.Getpid()))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func opener(user bool) snapshottest.Open {
	return func(o snapshottest.Options) (snapshot.Snapshotter, error) {
		return overlay.Open(overlay.Options{Dir: o.Dir, Temp: o.Temp, Trash: o.Trash, Now: o.Now, UserXattr: user})
	}
}

// need skips where a plain user cannot mount overlays of a kind. Root can: there
// a probe that fails is what is wrong.
func need(t *testing.T, user bool) {
	t.Helper()
	if err := overlay.Probe(t.TempDir(), user); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func TestConformance(t *testing.T) {
	need(t, false)
	snapshottest.Run(t, opener(false))
}

func TestConformanceUserXattr(t *testing.T) {
	need(t, true)
	snapshottest.Run(t, opener(true))
}

// TestUserNamespace runs the suite as an ordinary user sees it: in a user
// namespace, by a copy of this process.
func TestUserNamespace(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestConformanceUserXattr$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: ids, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skipf("no user namespace here: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP: TestConformanceUserXattr ") {
		t.Skip("no overlay in a user namespace here")
	}
}

func TestKilled(t *testing.T) {
	need(t, false)
	snapshottest.RunKilled(t, opener(false), func(base string) *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "CHURN="+base)
		cmd.Stderr = os.Stderr
		return cmd
	})
}
