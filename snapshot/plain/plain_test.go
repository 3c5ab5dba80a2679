package plain_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"builder/snapshot"
	"builder/snapshot/plain"
	"builder/snapshot/snapshottest"
)

// TestMain lets the test binary be the process that is killed: with CHURN set
// it uses the store in that directory for ever.
func TestMain(m *testing.M) {
	if base := os.Getenv("CHURN"); base != "" {
		err := snapshottest.ChurnForever(context.Background(), open, base, uint64(os.Getpid()))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func open(o snapshottest.Options) (snapshot.Snapshotter, error) {
	return plain.Open(plain.Options{Dir: o.Dir, Temp: o.Temp, Trash: o.Trash, Now: o.Now})
}

func TestConformance(t *testing.T) { snapshottest.Run(t, open) }

func TestKilled(t *testing.T) {
	snapshottest.RunKilled(t, open, func(base string) *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "CHURN="+base)
		cmd.Stderr = os.Stderr
		return cmd
	})
}
