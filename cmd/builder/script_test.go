package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"builder/executor/sandbox"
	"builder/internal/cli"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	testscript.Main(m, map[string]func(){
		"builder": func() { os.Exit(cli.Main()) },
	})
}

// TestScript runs the scripts: the command as its users meet it, each with a
// store of its own in memory where the machine has some.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			root, err := os.MkdirTemp(memory(), "builder-script-")
			if err != nil {
				return err
			}
			env.Defer(func() {
				if err := os.RemoveAll(root); err != nil {
					t.Error(err)
				}
			})
			env.Setenv("BUILDER_ROOT", filepath.Join(root, "store"))
			env.Setenv("SPARE", root)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_RUNTIME_DIR", "")
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"busybox": makeBusybox,
			"mtime":   setMtime,
			"same":    sameFiles,
		},
	})
}

// memory is a directory on a memory file system, or the usual one for
// temporary files.
func memory() string {
	if unix.Access("/dev/shm", unix.W_OK) == nil {
		return "/dev/shm"
	}
	return os.TempDir()
}

func condition(cond string) (bool, error) {
	switch cond {
	case "root":
		return os.Geteuid() == 0, nil
	default:
		return false, fmt.Errorf("unknown condition %q", cond)
	}
}

// makeBusybox builds the image busybox:1 in the script's store: a shell and the
// usual tools, root and two users.
func makeBusybox(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: busybox")
	}
	dir := ts.MkAbs(".busybox")
	ts.Check(os.MkdirAll(filepath.Join(dir, "etc"), 0o755))
	data, err := os.ReadFile("/bin/busybox")
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "busybox"), data, 0o755))
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
		"etc/group":  "root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
		"Dockerfile": "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCOPY etc /etc\nRUN mkdir -p -m 1777 /tmp && mkdir -p /root /home/app && chown app:app /home/app\nCMD [\"sh\"]\n",
	} {
		ts.Check(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	ts.Check(ts.Exec("builder", "build", "-q", "-t", "busybox:1", dir))
}

// setMtime gives files a time: mtime 2020-01-02T03:04:05Z FILE...
func setMtime(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mtime TIME FILE...")
	}
	for _, f := range args[1:] {
		out, err := exec.Command("touch", "-h", "-d", args[0], ts.MkAbs(f)).CombinedOutput()
		if err != nil {
			ts.Fatalf("touch: %v: %s", err, out)
		}
	}
}

// sameFiles compares two files without printing them.
func sameFiles(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same FILE FILE")
	}
	same := strings.Compare(ts.ReadFile(args[0]), ts.ReadFile(args[1])) == 0
	if same == neg {
		ts.Fatalf("%s and %s: same is %v", args[0], args[1], same)
	}
}
