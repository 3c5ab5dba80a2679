package main

import (
	"fmt"
	"os"
	"path/filepath"
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
// store of its own in memory where the machine has some. When a script is over
// nothing of it may be left: [leftovers].
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			spare, err := os.MkdirTemp(memory(), "builder-script-")
			if err != nil {
				return err
			}
			env.Defer(func() {
				if err := leftovers(spare); err != nil {
					t.Errorf("%s: %v", filepath.Base(env.WorkDir), err)
				}
				if err := os.RemoveAll(spare); err != nil {
					t.Error(err)
				}
			})
			env.Values[registries{}] = map[string]func(){}
			env.Setenv("BUILDER_ROOT", filepath.Join(spare, "store"))
			env.Setenv("SPARE", spare)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("BUILDER_SNAPSHOTS", os.Getenv("BUILDER_SNAPSHOTS")) // plain: every script on copies
			env.Setenv("XDG_RUNTIME_DIR", "")
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"busybox":  makeBusybox,
			"foreign":  foreignBusybox,
			"layout":   makeLayout,
			"mtime":    setMtime,
			"registry": registry,
			"same":     sameFiles,
			"tarball":  makeTarball,
			"web":      web,
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
