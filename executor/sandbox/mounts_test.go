package sandbox_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"builder/executor/sandbox"
)

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// What is shown of a tree is found inside it, and a mount can lie in it.
func TestMountsOfTrees(t *testing.T) {
	b := newBench(t)
	tree, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "secret"), "outside", 0o644)
	write(t, filepath.Join(tree, "dir/sub/name"), "inside", 0o644)
	write(t, filepath.Join(tree, "dir/in/stub"), "", 0o644)
	link(t, outside, filepath.Join(tree, "out"))
	link(t, "../../../../dir/sub", filepath.Join(tree, "up"))
	from := sandbox.Root{Source: tree}
	s := b.spec("sh", "-c", "cat /a/name /b/name /c; ls /a; echo x > /d/in/f; ls /d/in /d; touch /a/x")
	s.Mounts = []sandbox.Mount{
		{Target: "/a", Tree: &from, Path: "/dir/sub", ReadOnly: true}, {Target: "/b", Tree: &from, Path: "up", ReadOnly: true},
		{Target: "/c", Tree: &from, Path: "/up/name", ReadOnly: true},
		{Target: "/d", Tree: &from, Path: "/dir", ReadOnly: true}, {Target: "/d/in"},
	}
	out, err := b.output(t, s)
	want := "insideinsideinsidename\n/d:\nin\nsub\n\n/d/in:\nf\ntouch: /a/x: Read-only file system\n"
	if out != want || err == nil {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
	s = b.fresh(t).spec("cat", "/x/secret")
	s.Mounts = []sandbox.Mount{{Target: "/x", Tree: &from, Path: "/out"}}
	if out, err := b.output(t, s); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link out of the tree: got %q, %v", out, err)
	}
}

// A private file and a private socket are in no directory of the host.
func TestPrivateMounts(t *testing.T) {
	b := newBench(t)
	s := b.spec("sh", "-c", "stat -c '%a %u %g %s' /run/word; cat /run/word; stat -c '%a %F' /run/sock; /usr/bin/perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(\"/run/sock\") or die $!; print $s \"hello\\n\"; print <$s>'; echo x > /run/word")
	s.Mounts = []sandbox.Mount{
		{Target: "/run/word", ReadOnly: true, Private: &sandbox.Private{Data: []byte("sesame\n"), Mode: 0o440}},
		{Target: "/run/sock", Private: &sandbox.Private{Mode: 0o600, Serve: func(_ context.Context, c net.Conn) {
			line, err := bufio.NewReader(c).ReadString('\n')
			_, werr := c.Write([]byte("got " + line))
			if err := errors.Join(err, werr, c.Close()); err != nil {
				t.Error(err)
			}
		}}},
	}
	s.Env = []string{"PATH=/bin"}
	// The root has no program that knows such sockets, the machine has perl.
	for _, dir := range []string{"/usr", "/lib", "/lib64"} {
		if _, err := os.Stat(dir); err == nil {
			s.Mounts = append(s.Mounts, sandbox.Mount{Target: dir, Source: dir, ReadOnly: true})
		}
	}
	out, err := b.output(t, s)
	want := "440 0 0 7\nsesame\n600 socket\ngot hello\nsh: can't create /run/word: Read-only file system\n"
	if out != want || err == nil {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
	if _, err := os.Lstat(filepath.Join(b.upper, "run")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a stub is still there: %v", err)
	}
}

// Files get the times that they are to have, what is not there is passed over, and no
// link is followed.
func TestTimes(t *testing.T) {
	b := newBench(t)
	victim := filepath.Join(t.TempDir(), "victim")
	write(t, victim, "", 0o644)
	write(t, filepath.Join(b.lower, "d/f"), "f", 0o644)
	link(t, victim, filepath.Join(b.lower, "d/link"))
	link(t, "d", filepath.Join(b.lower, "dir"))
	s := b.spec("stat", "-c", "%Y", "/d/f")
	s.Times = []sandbox.Time{{Path: "d/f", Mtime: 981173106e9}, {Path: "d/link", Mtime: 1e9}, {Path: "dir/f", Mtime: 2e9}, {Path: "none/f", Mtime: 1}, {Path: "d/f/x", Mtime: 1}}
	if out, err := b.output(t, s); out != "981173106\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if st, err := os.Stat(victim); err != nil || st.ModTime().Unix() == 1 {
		t.Errorf("a link was followed: %v, %v", st.ModTime(), err)
	}
}
