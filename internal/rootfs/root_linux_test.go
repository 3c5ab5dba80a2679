package rootfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newRoot makes a root in a directory that holds a secret beside it.
func newRoot(t *testing.T) *Root {
	t.Helper()
	outside := t.TempDir()
	dir := filepath.Join(outside, "root")
	for _, d := range []string{"etc", "usr/lib"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, data := range map[string]string{"../secret": "outside", "secret": "root", "etc/passwd": "root:x:0:0", "usr/lib/so": "so"} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, target := range map[string]string{
		"up": "../secret", "abs": "/secret", "far": strings.Repeat("../", 60) + "secret", "host": outside + "/secret",
		"lib": "usr/lib", "usr/back": "../etc", "a": "b", "b": "a", "dangling": "/not/yet",
	} {
		if err := os.Symlink(target, filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestNothingLeadsOut(t *testing.T) {
	r := newRoot(t)
	for path, want := range map[string]string{
		"secret": "root", "/secret": "root", "../secret": "root", "etc/../../../secret": "root",
		"up": "root", "abs": "root", "far": "root", "lib/so": "so", "/usr/back/passwd": "root:x:0:0",
	} {
		got, err := r.ReadFile(path, 100)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]error{"host": fs.ErrNotExist, "a": unix.ELOOP, "etc": ErrNotRegular, "secret/x": unix.ENOTDIR} {
		if got, err := r.ReadFile(path, 100); !errors.Is(err, want) {
			t.Errorf("%s: %q, %v, want %v", path, got, err, want)
		}
	}
}

func TestReadFileHasABound(t *testing.T) {
	r := newRoot(t)
	if _, err := r.ReadFile("secret", 3); !errors.Is(err, ErrTooLarge) {
		t.Errorf("4 bytes of 3: %v", err)
	}
	if _, err := r.ReadFile("secret", 4); err != nil {
		t.Errorf("4 bytes of 4: %v", err)
	}
	if err := unix.Mkfifo(filepath.Join(r.dir.Name(), "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadFile("pipe", 4); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a pipe that nobody writes to: %v", err)
	}
}

func TestResolve(t *testing.T) {
	r := newRoot(t)
	for path, want := range map[string]string{
		"": "", "/": "", "..": "", "lib/so": "usr/lib/so", "lib/../x": "usr/x", "abs": "secret", "far": "secret",
		"usr/back/new/file": "etc/new/file", "dangling/x": "not/yet/x", "./etc//passwd": "etc/passwd",
	} {
		got, err := r.Resolve(path)
		if err != nil || got != want {
			t.Errorf("Resolve(%q) = %q, %v, want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]error{"a/x": unix.ELOOP, "secret/x": unix.ENOTDIR} {
		if got, err := r.Resolve(path); !errors.Is(err, want) {
			t.Errorf("Resolve(%q) = %q, %v, want %v", path, got, err, want)
		}
	}
}

func TestMkdirAll(t *testing.T) {
	r := newRoot(t)
	for _, c := range []struct {
		path string
		want []string
	}{
		{"etc", nil},
		{"x/y/z", []string{"x", "x/y", "x/y/z"}},
		{"/x/../x/w/", []string{"x/w"}},
		{"lib/sub/dir", []string{"usr/lib/sub", "usr/lib/sub/dir"}},
		{"dangling/x", []string{"not", "not/yet", "not/yet/x"}},
		{"../../out", []string{"out"}},
		{"/", nil},
	} {
		made, err := r.MkdirAll(c.path, 0o755)
		if err != nil || !slices.Equal(made, c.want) {
			t.Errorf("MkdirAll(%q) = %q, %v, want %q", c.path, made, err, c.want)
		}
		if st, err := r.Stat(c.path); err != nil || !st.IsDir() {
			t.Errorf("%s: %v, %v", c.path, st, err)
		}
	}
	if _, err := r.MkdirAll("secret", 0o755); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
}

func TestOpenFileWritesInside(t *testing.T) {
	r := newRoot(t)
	f, err := r.OpenFile("up", unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "written"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got, _ := os.ReadFile(filepath.Join(r.dir.Name(), "../secret")); string(got) != "outside" {
		t.Errorf("the file outside holds %q", got)
	}
	if got, _ := r.ReadFile("secret", 100); string(got) != "written" {
		t.Errorf("the file inside holds %q", got)
	}
}

func TestLinksAreSeenAsLinks(t *testing.T) {
	r := newRoot(t)
	if st, err := r.Lstat("lib"); err != nil || st.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("Lstat: %v, %v", st, err)
	}
	if got, err := r.Readlink("abs"); err != nil || got != "/secret" {
		t.Errorf("Readlink: %q, %v", got, err)
	}
	if _, err := r.Readlink("etc"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Readlink of a directory: %v", err)
	}
}
