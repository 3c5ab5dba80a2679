package snapshottest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
	"builder/snapshot"
)

func whiteout(path string) error { return unix.Mknod(path, unix.S_IFCHR, 0) }

func opaque(dir string, w snapshot.Whiteouts) error {
	name := "trusted.overlay.opaque"
	if w == snapshot.User {
		name = "user.overlay.opaque"
	}
	return sys.SetXattr(dir, name, []byte("y"))
}

// isRoot reports whether owners, devices and capabilities can be had: in a user
// namespace they cannot.
func isRoot() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && os.Geteuid() == 0 && strings.Contains(string(text), "4294967295")
}

// changed makes a tree of two layers with scripts and returns it with its
// changes; changes must tell the whole difference.
func (s *suite) changed(t *testing.T, before, after string) (tree snapshot.Tree, changes []snapshot.Change) {
	t.Helper()
	parent := s.make(t, snapshot.ID{}, before, shell(before))
	a := s.prepare(t, parent.ID, shell(after))
	want := s.look(t, a.Mount())
	changes = s.changes(t, a)
	same(t, "the parent and the changes", patch(s.view(t, parent.ID), want, changes), want)
	tree, err := s.Commit(t.Context(), a, id(parent.ID, after))
	must(t, err)
	sameTimes(t, "the committed tree", s.view(t, tree.ID), want)
	return tree, changes
}

// script returns a check that changes tell the difference that a script makes.
func script(name, before, after string) check {
	return check{name, func(t *testing.T, s *suite) { s.changed(t, before, after) }}
}

// treeChecks are about files and the changes to them.
var treeChecks = []check{
	script("files are added, changed, removed", "mkdir a; echo 1 > a/x; echo 2 > a/y", "echo 3 > a/x; rm a/y; echo 4 > a/z"),
	script("a directory is renamed", "mkdir -p a/b; echo 1 > a/b/c", "mv a z; mv z/b q"),
	script("a directory is made again", "mkdir -p a/b/c; echo 1 > a/b/c/d; echo 2 > a/x", "rm -r a; mkdir -p a/b/c; echo 3 > a/b/e"),
	script("a directory is made again twice", "mkdir a; echo 1 > a/b", "rm -r a; mkdir a; rmdir a; mkdir a; touch a/c"),
	script("a directory becomes a file", "mkdir -p a/b; echo 1 > a/b/c", "rm -r a; echo 2 > a"),
	script("a file becomes a directory", "echo 1 > a", "rm a; mkdir -p a/b; echo 2 > a/b/c"),
	script("a link becomes a directory", "mkdir -p real/sub; ln -s real a", "rm a; mkdir -p a/sub; echo 2 > a/sub/c"),
	script("a directory becomes a link", "mkdir -p real a/sub; touch real/x a/y", "rm -r a; ln -s real a"),
	script("modes alone", "mkdir a; touch a/b", "chmod 4755 a/b; chmod 1777 a"),
	script("times alone", "mkdir a; touch a/b", "touch -d 2001-02-03 a/b"),
	script("the content alone, same size and time", "echo 1 > a; touch -d 2001-02-03 a", "echo 2 > a; touch -d 2001-02-03 a"),
	script("nothing", "mkdir a; echo 1 > a/b", "cat a/b > /dev/null"),
	script("odd names", "mkdir 'a\nb'; touch 'a\nb/.wh.x' ' ' '*'", `touch "$(printf '\377\001')" '.wh..wh..opq' .wh.file; rm ' '`),
	script("a pipe and a dangling link", "mkfifo p; ln -s nowhere l", "rm p; mkfifo q; ln -sfn elsewhere l"),
	script("a sparse file", "truncate -s 10M a; printf x >> a", "truncate -s 20M b; printf y >> b; cp --sparse=always a c"),
	script("a deep directory", "d=.; for i in $(seq 40); do d=$d/directory-$i; done; mkdir -p $d; echo 1 > $d/f", "rm -r directory-1/directory-2; mkdir directory-1/x"),
	{"hard links stay together", func(t *testing.T, s *suite) {
		tree, _ := s.changed(t, "echo 1 > a; ln a b; mkdir d; ln a d/c", "echo 2 > x; ln x d/y; ln x z")
		l := s.view(t, tree.ID)
		if l["d/c"].Group != "a" || l["z"].Group != "d/y" {
			t.Errorf("groups: %+v", l)
		}
	}},
	{"a hard link to a file of the parent", func(t *testing.T, s *suite) {
		tree, _ := s.changed(t, "echo 1 > a", "ln a b")
		if l := s.view(t, tree.ID); l["a"].Group != "a" || l["b"].Group != "a" {
			t.Errorf("not linked: %+v", l)
		}
	}},
	{"attributes", func(t *testing.T, s *suite) {
		parent := s.make(t, snapshot.ID{}, "a", func(root string) error {
			if err := os.Mkdir(root+"/d", 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(root+"/f", nil, 0o644); err != nil {
				return err
			}
			if err := sys.SetXattr(root+"/d", "user.kept", []byte("1")); err != nil {
				return err
			}
			return sys.SetXattr(root+"/f", "user.one", []byte(strings.Repeat("x", 1000)))
		})
		tree := s.make(t, parent.ID, "b", func(root string) error { return sys.SetXattr(root+"/f", "user.two", nil) })
		l := s.view(t, tree.ID)
		if !strings.Contains(l["f"].What, "user.one=\"xx") || !strings.Contains(l["f"].What, "user.two=") || !strings.Contains(l["d"].What, "user.kept") {
			t.Errorf("attributes: %+v", l)
		}
	}},
	{"owners, devices and capabilities", func(t *testing.T, s *suite) {
		if !isRoot() {
			t.Skip("needs root")
		}
		s.changed(t, "touch f; chown 12:34 f; mknod c c 1 3; mknod b b 7 0; mkdir d; chown 5:6 d; chown 7:8 .",
			"chown -h 9:9 f; ln -s f l; chown -h 3:4 l; rm c; mknod d/c c 1 5")
		parent := s.make(t, snapshot.ID{}, "caps", func(root string) error {
			if err := os.WriteFile(root+"/ping", nil, 0o755); err != nil {
				return err
			}
			return sys.SetXattr(root+"/ping", "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
		})
		a, err := s.Prepare(t.Context(), parent.ID)
		must(t, err)
		if got := s.look(t, a.Mount())["ping"].What; !strings.Contains(got, "security.capability") {
			t.Errorf("the capability is lost: %s", got)
		}
	}},
	{"128 layers", func(t *testing.T, s *suite) {
		var top snapshot.ID
		for i := range 128 {
			script := fmt.Sprintf("echo %d > last; echo %d > file%d", i, i, i)
			if i%3 == 2 {
				script += fmt.Sprintf("; rm file%d", i-1)
			}
			top = s.make(t, top, number(i), shell(script)).ID
		}
		l := s.view(t, top)
		if want := 1 + 1 + 128 - 42; len(l) != want {
			t.Errorf("%d entries, want %d", len(l), want)
		}
	}},
	{"a walk may be left early", func(t *testing.T, s *suite) {
		a := s.prepare(t, snapshot.ID{}, shell("mkdir -p a/b; touch a/b/c a/d"))
		for want := 1; want < 4; want++ {
			n := 0
			for _, err := range a.Changes(t.Context()) {
				must(t, err)
				if n++; n == want {
					break
				}
			}
			if n != want {
				t.Errorf("left after %d of %d", n, want)
			}
		}
	}},
	{"random changes", func(t *testing.T, s *suite) {
		for seed := range uint64(12) {
			s.random(t, seed)
		}
	}},
}

// random makes trees by random operations on top of each other; changes must tell
// the whole difference each time.
func (s *suite) random(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	var top snapshot.ID
	for layer := range 4 {
		a := s.prepare(t, top, func(root string) error { return scramble(r, root, 40) })
		want := s.look(t, a.Mount())
		same(t, fmt.Sprintf("seed %d, layer %d", seed, layer), patch(s.view(t, top), want, s.changes(t, a)), want)
		tree, err := s.Commit(t.Context(), a, id(top, fmt.Sprint(seed, " ", layer)))
		must(t, err)
		sameTimes(t, fmt.Sprintf("seed %d, layer %d, committed", seed, layer), s.view(t, tree.ID), want)
		top = tree.ID
	}
}

// scramble does n random things to the tree at root. What cannot be done in
// its present state is left out: the tree is then listed as it is.
func scramble(r *rand.Rand, root string, n int) error {
	path := func() string {
		p := root
		for range 1 + r.IntN(3) {
			p = filepath.Join(p, string(rune('a'+r.IntN(4))))
		}
		return p
	}
	for i := range n {
		p := path()
		switch r.IntN(9) {
		case 0, 1, 2:
			_ = os.WriteFile(p, fmt.Append(nil, i), 0o644)
		case 3, 4:
			_ = os.MkdirAll(p, 0o755)
		case 5:
			_ = os.RemoveAll(p)
		case 6:
			_ = os.Symlink("a", p)
		case 7:
			_ = os.Link(path(), p)
		case 8:
			_ = os.Chmod(p, 0o700)
		}
	}
	return nil
}
