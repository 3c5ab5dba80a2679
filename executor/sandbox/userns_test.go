package sandbox_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// userNSEnv says that the tests run in a user namespace.
const userNSEnv = "SANDBOX_TEST_USERNS"

// TestUserNamespace runs the tests of this package once more, as "root" in a user namespace, as
// they run for a plain user.
func TestUserNamespace(t *testing.T) {
	if os.Getuid() != 0 || os.Getenv(userNSEnv) != "" {
		t.Skip("needs root, to map IDs")
	}
	const first, count = 200000, 65536
	dir := t.TempDir()
	if err := os.Chown(dir, first, first); err != nil {
		t.Fatal(err)
	}
	for parent := dir; parent != "/dev/shm" && len(parent) > len("/tmp"); parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("/proc/self/exe", "-test.v", "-test.run=TestProcess|TestCommand|TestNoTrace|TestBound|TestMounts|TestTerminal|TestCancel|TestInit|TestHostile")
	c.Dir = "/"
	c.Env = append(os.Environ(), userNSEnv+"=1", "TMPDIR="+dir)
	maps := []syscall.SysProcIDMap{{HostID: first, Size: count}}
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: maps, GidMappings: maps, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{},
	}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
