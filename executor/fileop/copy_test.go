package fileop_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"builder/executor/fileop"
	"builder/image/layer"
	"builder/planner"
)

const users = `
	etc/passwd =root:x:0:0::/:/bin/sh
	etc/group =root:x:0:
`

func TestCopy(t *testing.T) {
	for _, tt := range []struct {
		name     string
		src, dst string
		own      string // a layer that the build put on dst
		op       planner.Copy
		want     string
		err      string
	}{
		{name: "a file to a new name", src: `f 600 5:6 =x`, op: planner.Copy{Sources: []string{"/f"}, Dest: "/g"}, want: `g 600 5:6 =x`},
		{name: "parents are made for everybody, by root", src: `f =x`, op: planner.Copy{Sources: []string{"f"}, Dest: "/a/b/"},
			want: `a/ 755 0:0
				a/b/ 755 0:0
				a/b/f 644 0:0 =x`},
		{name: "parents belong to who is asked for", src: `f =x`, op: planner.Copy{Sources: []string{"f"}, Dest: "/a/", Chown: "5"},
			want: `a/ 755 5:5
				a/f 644 5:5 =x`},
		{name: "parents get the mode too, less its special bits", src: `f =x`, op: planner.Copy{Sources: []string{"f"}, Dest: "/a/", Chmod: "4700"},
			want: `a/ 700 0:0
				a/f 4700 0:0 =x`},
		{name: "a setgid directory hands its group to a parent", src: `f =x`, dst: `a/ 2775 1:50`, op: planner.Copy{Sources: []string{"f"}, Dest: "/a/b/"},
			want: `a/ ^
				a/b/ 2755 0:50
				a/b/f 644 0:0 =x`},
		{name: "into a directory that is there", src: `f =x`, dst: `d/ 700 1:1`, op: planner.Copy{Sources: []string{"f"}, Dest: "/d"},
			want: `d/ ^
				d/f 644 0:0 =x`},
		{name: "over a file", src: `f =x`, dst: `g 600 1:1 =y`, op: planner.Copy{Sources: []string{"f"}, Dest: "/g"}, want: `g 644 0:0 =x`},
		{name: "a directory is its contents, its own metadata stays behind", src: `d/ 700 5:6
				d/f =x
				d/e/ 700 5:6`, op: planner.Copy{Sources: []string{"d"}, Dest: "/n"},
			want: `n/ 755 0:0
				n/e/ 700 5:6
				n/f 644 0:0 =x`},
		{name: "directories inside get the source's metadata", src: `d/e/ 700 5:6 @user.n=1`, dst: `e/ 755 0:0 @user.o=2
				e/kept =x`, op: planner.Copy{Sources: []string{"d"}, Dest: "/"}, want: `e/ 700 5:6 @user.n=1 @user.o=2`},
		{name: "a directory that is there and equal is no change", src: `d/e/ 700 5:6`, dst: `e/ 700 5:6`, op: planner.Copy{Sources: []string{"d"}, Dest: "/"}},
		{name: "a file over a directory", src: `d/x =1`, dst: `x/`, op: planner.Copy{Sources: []string{"d"}, Dest: "/"}, err: "cannot replace directory /x"},
		{name: "a directory over a file", src: `d/x/`, dst: `x =1`, op: planner.Copy{Sources: []string{"d"}, Dest: "/"}, err: "cannot copy to non-directory: /x"},
		{name: "a directory over a link to one", src: `d/x/y =1`, dst: `r/
				x -> r`, op: planner.Copy{Sources: []string{"d"}, Dest: "/"}, err: "cannot copy to non-directory: /x"},
		{name: "below a file", src: `f =1`, dst: `x =1`, op: planner.Copy{Sources: []string{"f"}, Dest: "/x/y/"}, err: "not a directory"},
		{name: "links in the destination stay inside", src: `f =1`, dst: `in -> ../../r
				r/`, op: planner.Copy{Sources: []string{"f"}, Dest: "/in/f"},
			want: `r/ ^
				r/f 644 0:0 =1`},
		{name: "a link as the destination is written through", src: `f =1`, dst: `l -> /r/t`, op: planner.Copy{Sources: []string{"f"}, Dest: "/l"},
			want: `r/ 755 0:0
				r/t 644 0:0 =1`},
		{name: "a link in a destination directory is replaced", src: `f =1`, dst: `f -> /r`, op: planner.Copy{Sources: []string{"f"}, Dest: "/"}, want: `f 644 0:0 =1`},
		{name: "a source that is a link is followed", src: `l -> d/../f
				f =1`, op: planner.Copy{Sources: []string{"l"}, Dest: "/x/"},
			want: `x/ 755 0:0
				x/l 644 0:0 =1`},
		{name: "links inside a source are not", src: `d/l -> ../../etc/passwd`, op: planner.Copy{Sources: []string{"d", "d"}, Dest: "/"}, want: `l -> ../../etc/passwd`},
		{name: "a link's owner", src: `d/l -> x`, op: planner.Copy{Sources: []string{"d"}, Dest: "/", Chown: "7:8", Chmod: "600"}, want: `l -> x 7:8`},
		{name: "a missing source", op: planner.Copy{Sources: []string{"/no"}, Dest: "/"}, err: `"/no": not found`},
		{name: "a dangling source", src: `l -> no`, op: planner.Copy{Sources: []string{"/l"}, Dest: "/"}, err: `"/l": not found`},
		{name: "a loop", src: `l -> m
				m -> l`, op: planner.Copy{Sources: []string{"/l"}, Dest: "/"}, err: `"/l": not found`},
		{name: "a wildcard without a match", src: `f =1`, op: planner.Copy{Sources: []string{"no*"}, Dest: "/new/"}},
		{name: "a wildcard in a missing directory", src: `f =1`, op: planner.Copy{Sources: []string{"no/*"}, Dest: "/"}, err: "no such file"},
		{name: "wildcards", src: `a.txt =1
				b.txt =2
				c.md =3
				d/x.txt =4`, op: planner.Copy{Sources: []string{"?.txt", "*/*.txt"}, Dest: "/o/"},
			want: `o/ 755 0:0
				o/a.txt 644 0:0 =1
				o/b.txt 644 0:0 =2
				o/x.txt 644 0:0 =4`},
		{name: "a directory that a wildcard matches is its contents", src: `d1/f =1
				d2/g =2`, op: planner.Copy{Sources: []string{"d*"}, Dest: "/o/"},
			want: `o/ 755 0:0
				o/f 644 0:0 =1
				o/g 644 0:0 =2`},
		{name: "an escaped wildcard after another", src: `a* =1
				ab =2`, op: planner.Copy{Sources: []string{`[a]\*`}, Dest: "/"}, want: `a* 644 0:0 =1`},
		{name: "later sources win", src: `a/f =1
				b/f =2`, op: planner.Copy{Sources: []string{"a", "b"}, Dest: "/"}, want: `f 644 0:0 =2`},
		{name: "hard links hold within a source", src: `d/a =1
				d/b == d/a`, op: planner.Copy{Sources: []string{"d"}, Dest: "/"},
			want: `a 644 0:0 =1
				b == a`},
		{name: "and not between sources", src: `a =1
				b == a`, op: planner.Copy{Sources: []string{"a", "b"}, Dest: "/"},
			want: `a 644 0:0 =1
				b 644 0:0 =1`},
		{name: "pipes, special bits and attributes stay", src: `d/p 4750 1:2 |
				d/f 6755 1:2 =x @user.a=b`, op: planner.Copy{Sources: []string{"d"}, Dest: "/"},
			want: `f 6755 1:2 =x @user.a=b
				p 4750 1:2 |`},
		{name: "owners by name", src: `f =1`, dst: users, op: planner.Copy{Sources: []string{"f"}, Dest: "/", Chown: "app:web"}, want: `f 644 33:34 =1`},
		{name: "a user's own group", src: `f =1`, dst: users, op: planner.Copy{Sources: []string{"f"}, Dest: "/", Chown: "app"}, want: `f 644 33:44 =1`},
		{name: "a group by number", src: `f =1`, dst: users, op: planner.Copy{Sources: []string{"f"}, Dest: "/", Chown: "app:7"}, want: `f 644 33:7 =1`},
		{name: "a number is user and group", src: `f =1`, op: planner.Copy{Sources: []string{"f"}, Dest: "/", Chown: "12"}, want: `f 644 12:12 =1`},
		{name: "unknown names are root", src: `f 644 1:1 =1`, dst: users, op: planner.Copy{Sources: []string{"f"}, Dest: "/", Chown: "who:ever"}, want: `f 644 0:0 =1`},
		{name: "heredocs come last", src: `f =1`, op: planner.Copy{Sources: []string{"f"}, Files: []planner.File{{Name: "f", Data: []byte("2")}, {Name: "g"}}, Dest: "/d/", Chown: "3"},
			want: `d/ 755 3:3
				d/f 644 3:3 =2
				d/g 644 3:3 =`},
		{name: "what the build put there is left alone", src: `d/a =1
				d/b =2
				d/c 600 =3
				d/l -> x
				d/p |
				d/e/f =5`, dst: `a =1`, own: `b =2
				c 644 =3
				l -> x
				p |
				e/f =5`, op: planner.Copy{Sources: []string{"d"}, Dest: "/"},
			want: `a 644 0:0 =1
				c 600 0:0 =3`},
		{name: "files with several names are left alone together", src: `d/a =1
				d/b == d/a
				e/x =1
				e/y == e/x`, own: `d/a =1
				d/b == d/a
				e/x =1
				e/y =1`, op: planner.Copy{Sources: []string{"/"}, Dest: "/"},
			want: `e/ ^
				e/x 644 0:0 =1
				e/y == e/x`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := contents{}
			src := layer.NewStack(newLayer(t, files, tt.src))
			dst := layer.NewStack(newLayer(t, files, tt.dst), newLayer(t, files, tt.own))
			if strings.Contains(tt.dst, "etc/passwd") {
				dst = layer.NewStack(newUsers(t, files))
			}
			got, err := runCopy(t, tt.op, src, dst, files)
			checkError(t, err, tt.err)
			if want := lines(tt.want); err == nil && got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func newUsers(t *testing.T, files contents) *layer.Index {
	ix := newLayer(t, files, users)
	for i := range ix.Entries {
		var line string
		switch ix.Entries[i].Path {
		case "etc/passwd":
			line = "root:x:0:0::/:/bin/sh\napp:x:33:44::/:/bin/sh\n"
		case "etc/group":
			line = "root:x:0:\nweb:x:34:app\n"
		default:
			continue
		}
		e := newEntry(t, files, []string{"x", "=" + line})
		ix.Entries[i].Size, ix.Entries[i].Digest = e.Size, e.Digest
	}
	return ix
}

func runCopy(t *testing.T, op planner.Copy, src layer.View, dst *layer.Stack, files contents) (string, error) {
	t.Helper()
	sel, err := fileop.Select(op, src)
	if err != nil {
		return "", err
	}
	made, err := fileop.Copy(t.Context(), op, sel, fileop.Tree{View: dst, Files: files, Base: 1},
		fileop.CopyOptions{Source: files, Now: now, Temp: t.TempDir()})
	if err != nil {
		return "", err
	}
	text := show(t, made.Index, made)
	if err := made.Close(); err != nil {
		t.Error(err)
	}
	return text, nil
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatal(err)
	case want != "" && err == nil:
		t.Fatalf("no error, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Fatalf("got error %q, want %q", err, want)
	}
}

func TestMissingSourceIsNotExist(t *testing.T) {
	_, err := fileop.Select(planner.Copy{Sources: []string{"/x"}}, layer.NewStack())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestChmod(t *testing.T) {
	for mode, ok := range map[string]bool{"0": true, "7777": true, "10000": false, "8": false, "-1": false, "u+x": true, "x": false, "u": false, "+": true, "u+q": false} {
		op := planner.Copy{Sources: []string{"f"}, Dest: "/", Chmod: mode}
		files := contents{}
		_, err := runCopy(t, op, layer.NewStack(newLayer(t, files, "f =1")), layer.NewStack(), files)
		if (err == nil) != ok {
			t.Errorf("mode %q: %v", mode, err)
		}
	}
}

func TestChmodInLetters(t *testing.T) {
	for _, tt := range []struct {
		mode      string
		file, dir uint32 // of 0640 and 0755
	}{
		{"u=rwX,go=rX", 0o644, 0o755},
		{"+x", 0o751, 0o755},
		{"g=u,o=", 0o660, 0o770},
		{"a-r", 0o200, 0o311},
		{"u+s,g+s", 0o6640, 0o6755},
		{"go-rwx,u+w", 0o600, 0o700},
		{"+t", 0o1640, 0o1755},
		{"o+s", 0o640, 0o755},
		{"=", 0, 0},
		{"g+u-w", 0o640, 0o755},
		{"o=g,g-r", 0o604, 0o715},
		{"u=gX", 0o440, 0o555},
	} {
		files := contents{}
		src := layer.NewStack(newLayer(t, files, "s/f 640 =1\ns/d/ 755"))
		got, err := runCopy(t, planner.Copy{Sources: []string{"s"}, Dest: "/new", Chmod: tt.mode}, src, layer.NewStack(), files)
		want := fmt.Sprintf("new/ 755 0:0\nnew/d/ %o 0:0\nnew/f %o 0:0 =1\n", tt.dir, tt.file)
		if err != nil || got != want {
			t.Errorf("%s: got %v\n%swant\n%s", tt.mode, err, got, want)
		}
	}
}

func TestNamesNeedATree(t *testing.T) {
	files := contents{}
	src := layer.NewStack(newLayer(t, files, "f =1"))
	op := planner.Copy{Sources: []string{"f"}, Dest: "/", Chown: "app"}
	_, err := runCopy(t, op, src, layer.NewStack(), files)
	checkError(t, err, "empty tree")
}

func TestMkdir(t *testing.T) {
	for _, tt := range []struct{ name, dst, path, user, want, err string }{
		{name: "parents too", path: "/a/b", user: "5", want: `a/ 755 5:5
			a/b/ 755 5:5`},
		{name: "what is there stays", dst: `a/ 700 1:1`, path: "/a", user: "5"},
		{name: "below what is there", dst: `a/ 2700 1:9`, path: "/a/b", want: `a/ ^
			a/b/ 2755 0:9`},
		{name: "through a link", dst: `l -> /r`, path: "/l/x", want: `r/ 755 0:0
			r/x/ 755 0:0`},
		{name: "a file", dst: `f =1`, path: "/f", err: "not a directory"},
		{name: "the root", path: "/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := contents{}
			dst := layer.NewStack(newLayer(t, files, tt.dst))
			made, err := fileop.Mkdir(t.Context(), planner.Mkdir{Path: tt.path, User: tt.user}, fileop.Tree{View: dst, Files: files}, now)
			checkError(t, err, tt.err)
			if err != nil {
				return
			}
			if got, want := show(t, made.Index, made), lines(tt.want); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// A key must change with everything that can change the result, and with
// nothing else.
func TestSelectionDigest(t *testing.T) {
	const base = `d/ 700 1:1
		d/f =1
		d/e/
		d/l -> f
		f =2
		g == f`
	all := planner.Copy{Sources: []string{"d", "f", "g"}, Dest: "/x/"}
	chowned, chmodded := all, all
	chowned.Chown = "1"
	chmodded.Chmod = "600"
	within := planner.Copy{Sources: []string{"/"}, Dest: "/x/", Chmod: "600", Include: []string{"d/f"}}
	as := planner.Copy{Sources: []string{"d"}, Dest: "/x/", Literal: true}
	for _, tt := range []struct {
		name    string
		op      planner.Copy
		change  [2]string
		differs bool
	}{
		{"content", all, [2]string{"d/f =1", "d/f =2"}, true},
		{"mode", all, [2]string{"d/f =1", "d/f 600 =1"}, true},
		{"mode under --chmod", chmodded, [2]string{"d/f =1", "d/f 600 =1"}, false},
		{"owner", all, [2]string{"d/f =1", "d/f 1:1 =1"}, true},
		{"owner under --chown", chowned, [2]string{"d/f =1", "d/f 1:1 =1"}, false},
		{"attribute", all, [2]string{"d/f =1", "d/f =1 @user.a=1"}, true},
		{"link target", all, [2]string{"d/l -> f", "d/l -> g"}, true},
		{"type", all, [2]string{"d/f =1", "d/f -> 1"}, true},
		{"empty directory", all, [2]string{"d/e/", ""}, true},
		{"name", all, [2]string{"d/f =1", "d/g =1"}, true},
		{"the matched directory's own metadata", all, [2]string{"d/ 700 1:1", "d/ 755 2:2"}, false},
		{"metadata of a directory on the way under --chmod", within, [2]string{"d/ 700", "d/ 755"}, true},
		{"the mode of a directory that is copied as such", as, [2]string{"d/ 700", "d/ 755"}, true},
		{"what is not selected", all, [2]string{"g == f", "g == f\nh =1"}, false},
		{"hard links between sources", all, [2]string{"g == f", "g =2"}, false},
		{"hard links within one", planner.Copy{Sources: []string{"/"}, Dest: "/x/"}, [2]string{"g == f", "g =2"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := strings.Replace(base, tt.change[0], tt.change[1], 1)
			if changed == base {
				t.Fatal("the change is none")
			}
			if got := selectionDigest(t, tt.op, base) != selectionDigest(t, tt.op, changed); got != tt.differs {
				t.Errorf("the digest differs: %v", got)
			}
		})
	}
}

func selectionDigest(t *testing.T, op planner.Copy, src string) [32]byte {
	t.Helper()
	sel, err := fileop.Select(op, layer.NewStack(newLayer(t, contents{}, src)))
	if err != nil {
		t.Fatal(err)
	}
	return sel.Digest()
}
