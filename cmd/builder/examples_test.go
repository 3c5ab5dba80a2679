package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// expectation is the file expect.json of an example.
type expectation struct {
	Layers int
	Config map[string]json.RawMessage
	Run    struct{ Stdout string }
	Digest string
	Status int
	Faults []string
	// Reproducible examples are built in two stores.
	Reproducible bool
}

// program is the command under test: this test binary, started under its name.
type program struct {
	t    *testing.T
	path string
	root string
}

func newProgram(t *testing.T) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	path := filepath.Join(bin, "builder")
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp(memory(), "builder-examples-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return &program{t: t, path: path, root: root}
}

// try runs the command in the store named and returns what it printed.
func (p *program) try(store string, args ...string) (stdout, stderr string, status int) {
	p.t.Helper()
	cmd := exec.Command(p.path, args...)
	cmd.Args[0] = "builder"
	cmd.Env = append(os.Environ(), "BUILDER_ROOT="+filepath.Join(p.root, store))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (p *program) run(store string, args ...string) string {
	p.t.Helper()
	out, errs, status := p.try(store, args...)
	if status != 0 {
		p.t.Fatalf("builder %s: status %d\n%s", strings.Join(args, " "), status, errs)
	}
	return out
}

// TestExamples builds every recipe of examples/ and holds it against its
// expect.json.
func TestExamples(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("make test runs this as root")
	}
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(examples, "toolbox/bin/toolbox")); err != nil {
		t.Fatalf("make toolbox comes first: %v", err)
	}
	p := newProgram(t)
	p.run("one", "build", "-q", "-t", "toolbox:1.0", filepath.Join(examples, "toolbox"))
	debootstrap(p)
	files, err := filepath.Glob(filepath.Join(examples, "*/expect.json"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	for _, file := range files {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			p := &program{t: t, path: p.path, root: p.root}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want expectation
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			p.check(dir, want)
		})
	}
}

func (p *program) check(dir string, want expectation) {
	name := filepath.Base(dir)
	if want.Status != 0 {
		p.checkFaults(dir, want)
		return
	}
	p.run("one", "build", "-q", "-t", name, dir)
	var images []struct {
		ID     string `json:"Id"`
		RootFS struct{ Layers []string }
		Config map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(p.run("one", "inspect", name)), &images); err != nil {
		p.t.Fatal(err)
	}
	if got := len(images[0].RootFS.Layers); got != want.Layers {
		p.t.Errorf("%d layers, want %d", got, want.Layers)
	}
	for field, value := range want.Config {
		var got, want any
		if err := json.Unmarshal(images[0].Config[field], &got); err != nil {
			p.t.Errorf("config %s: %v", field, err)
		}
		if err := json.Unmarshal(value, &want); err != nil {
			p.t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			p.t.Errorf("config %s is %v, want %v", field, got, want)
		}
	}
	if want.Run.Stdout != "" {
		if got := p.run("one", "run", "--rm", name); got != want.Run.Stdout {
			p.t.Errorf("run printed %q, want %q", got, want.Run.Stdout)
		}
	}
	if want.Reproducible {
		p.run("two", "build", "-q", "-t", "toolbox:1.0", filepath.Join(filepath.Dir(dir), "toolbox"))
		if again := strings.TrimSpace(p.run("two", "build", "-q", dir)); again != images[0].ID {
			p.t.Errorf("a second store gave %s, the first %s", again, images[0].ID)
		}
	}
}

// checkFaults holds the places of a recipe's faults against those expected, and
// the README against what is printed.
func (p *program) checkFaults(dir string, want expectation) {
	_, errs, status := p.try("one", "build", dir)
	if status != want.Status {
		p.t.Errorf("status %d, want %d", status, want.Status)
	}
	var places []string
	for line := range strings.SplitSeq(errs, "\n") {
		if place, _, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(place, "Dockerfile:") {
			places = append(places, place)
		}
	}
	if !reflect.DeepEqual(places, want.Faults) {
		p.t.Errorf("faults at %q, want %q", places, want.Faults)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(errs), "\n") {
		if line != "" && !strings.Contains(string(readme), "    "+line+"\n") {
			p.t.Errorf("README.md does not show %q", line)
		}
	}
}

// debootstrap makes the image debian:bookworm, once a machine.
func debootstrap(p *program) {
	p.t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = "/var/cache"
	}
	tarball := filepath.Join(cache, "builder-tests", "debian-bookworm.tar")
	if _, err := os.Stat(tarball); err != nil {
		if err := os.MkdirAll(filepath.Dir(tarball), 0o755); err != nil {
			p.t.Fatal(err)
		}
		dir := filepath.Join(p.root, "debian")
		script := `debootstrap --variant=minbase bookworm "$1" >&2 && rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* && tar -C "$1" --numeric-owner -cf "$2.new" . && mv "$2.new" "$2"`
		if out, err := exec.Command("sh", "-ec", script, "sh", dir, tarball).CombinedOutput(); err != nil {
			p.t.Fatalf("debootstrap: %v\n%s", err, out)
		}
	}
	p.run("one", "import", tarball, "debian:bookworm")
}
