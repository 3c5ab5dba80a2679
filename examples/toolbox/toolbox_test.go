package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// program is the built toolbox.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "toolbox")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "toolbox")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// newRoot returns a root file system that holds nothing but toolbox, as its
// Dockerfile makes it.
func newRoot(t *testing.T) string {
	t.Helper()
	watchSources(t)
	root := t.TempDir()
	for _, dir := range []string{"bin", "etc", "root", "tmp", "work"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/toolbox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"passwd", "group"} {
		data, err := os.ReadFile(filepath.Join("etc", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc", name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := runIn(t, root, "", "/bin/toolbox", "--install", "/bin"); got.status != 0 {
		t.Fatalf("install: %+v", got)
	}
	return root
}

// watchSources looks at what the program is built from: go test watches the
// files that a test looks at, and would not see in the test binary alone that a
// cached result is stale.
func watchSources(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"*.go", "go.*"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if _, err := os.Stat(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

type result struct {
	out, err string
	status   int
}

// runIn runs a command with root as its root directory, in a user namespace
// unless the test is root already.
func runIn(t *testing.T, root, stdin string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0])
	cmd.Args = args
	cmd.Dir = "/work"
	cmd.Env = []string{"PATH=/bin", "HOME=/root", "LANG=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatalf("%q: %v", args, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// TestScripts runs the cases in testdata/cases.txt. A case is a title, a shell
// script whose lines start with "$ " (first) and "> ", and what it prints, to
// standard output and error together, and a line "[N]" if its status N is not 0.
func TestScripts(t *testing.T) {
	data, err := os.ReadFile("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Split("\n"+string(data), "\n# ")[1:] {
		title, text, _ := strings.Cut(text, "\n")
		t.Run(title, func(t *testing.T) {
			root := newRoot(t)
			for _, step := range strings.Split("\n"+text, "\n$ ")[1:] {
				lines := strings.Split(strings.TrimRight(step, "\n"), "\n")
				script := lines[0]
				for lines = lines[1:]; len(lines) > 0 && strings.HasPrefix(lines[0], ">"); lines = lines[1:] {
					script += "\n" + strings.TrimPrefix(strings.TrimPrefix(lines[0], ">"), " ")
				}
				want := strings.Join(lines, "\n")
				r := runIn(t, root, "", "/bin/sh", "-c", "{ "+script+"\n} 2>&1")
				got := r.out + r.err
				if r.status != 0 {
					got += fmt.Sprintf("[%d]\n", r.status)
				}
				if got = strings.TrimRight(got, "\n"); got != want {
					t.Errorf("$ %s\ngot:\n%s\nwant:\n%s", script, got, want)
				}
			}
		})
	}
}

func TestCommandLines(t *testing.T) {
	root := newRoot(t)
	if err := os.WriteFile(filepath.Join(root, "work/script"), []byte("echo $0 $1; exit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		stdin string
		args  []string
		want  result
	}{
		{"true is a program", "", []string{"/bin/true"}, result{"", "", 0}},
		{"false is a program", "", []string{"/bin/false"}, result{"", "", 1}},
		{"echo is a program", "", []string{"/bin/echo", "-n", "a  b"}, result{"a  b", "", 0}},
		{"test is a program", "", []string{"/bin/test", "-d", "/tmp"}, result{"", "", 0}},
		{"the bracket wants its partner", "", []string{"/bin/[", "a"}, result{"", "[: missing ]\n", 2}},
		{"a tool by argument", "a\nb\n", []string{"/bin/toolbox", "wc", "-l"}, result{"2\n", "", 0}},
		{"an unknown tool", "", []string{"/bin/toolbox", "awk"}, result{"", "toolbox: no tool named \"awk\"\n", 127}},
		{"sh -c sets parameters", "", []string{"/bin/sh", "-c", "echo $0 $# $2", "zero", "1", "2"}, result{"zero 2 2\n", "", 0}},
		{"sh -e stops", "", []string{"/bin/sh", "-ec", "false; echo on"}, result{"", "", 1}},
		{"sh -eux prints commands", "", []string{"/bin/sh", "-eux", "-c", "echo a"}, result{"a\n", "+ echo a\n", 0}},
		{"sh -o pipefail", "", []string{"/bin/sh", "-o", "pipefail", "-c", "false | true"}, result{"", "", 1}},
		{"sh reads a script", "", []string{"/bin/sh", "script", "x"}, result{"script x\n", "", 7}},
		{"sh reads standard input", "echo $((6 * 7))\n", []string{"/bin/sh"}, result{"42\n", "", 0}},
		{"sh -s takes parameters", "echo $1\n", []string{"/bin/sh", "-s", "one"}, result{"one\n", "", 0}},
		{"sh -i answers", "echo a\nfalse\n", []string{"/bin/sh", "-i"}, result{"a\n", "/work # /work # /work # ", 1}},
		{"a script without an interpreter line", "", []string{"/bin/sh", "-c", "./script y"}, result{"./script y\n", "", 7}},
		{"a missing script", "", []string{"/bin/sh", "nothing"}, result{"", "sh: nothing: no such file or directory\n", 127}},
		{"an unknown shell option", "", []string{"/bin/sh", "-Z"}, result{"", "sh: unknown option \"-Z\"\n", 2}},
		{"a syntax error", "", []string{"/bin/sh", "-c", "if"}, result{"", "sh:1:1: `if` must be followed by a statement list\n", 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := runIn(t, root, c.stdin, c.args...); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestEveryNameIsInstalledAndRuns(t *testing.T) {
	root := newRoot(t)
	r := runIn(t, root, "", "/bin/toolbox", "--list")
	listed := strings.Fields(r.out)
	if len(listed) < 60 {
		t.Fatalf("only %d names: %q", len(listed), listed)
	}
	for _, name := range listed {
		if to, err := os.Readlink(filepath.Join(root, "bin", name)); err != nil || to != "toolbox" {
			t.Errorf("%s is a link to %q (%v)", name, to, err)
		}
		if name == "yes" {
			continue // never ends
		}
		if r := runIn(t, root, "", "/bin/"+name, "--no-such-option"); r.status == 127 || strings.Contains(r.err, "panic") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestATarCannotEscape unpacks an archive that first makes a link to the
// outside and then writes through it.
func TestATarCannotEscape(t *testing.T) {
	root := newRoot(t)
	r := runIn(t, root, "", "/bin/sh", "-c", `
		mkdir a b in && ln -s /tmp a/out && tar cf 1.tar -C a out
		mkdir b/out && echo evil >b/out/file && tar cf 2.tar -C b out/file
		tar xf 1.tar -C in && tar xf 2.tar -C in; echo $?; ls /tmp`)
	if r.status != 0 || r.out != "1\n" || !strings.Contains(r.err, "escapes") {
		t.Errorf("got %+v", r)
	}
}
