package fileop_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"builder/executor/fileop"
	"builder/image/layer"
	"builder/planner"
)

// newTar returns an archive of the headers; files hold their own name.
func newTar(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, h.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpack adds data, called "archive", to dst and shows the layer.
func unpack(t *testing.T, data []byte, dst string, op planner.Copy) (string, error) {
	t.Helper()
	files := contents{}
	below := newLayer(t, files, dst)
	e := layer.Entry{Path: "archive", Type: layer.File, Mode: 0o600, Size: int64(len(data)), Digest: sha256.Sum256(data)}
	files[e.Digest] = string(data)
	ix, err := layer.NewIndex([]layer.Entry{e})
	if err != nil {
		t.Fatal(err)
	}
	op.Sources, op.Unpack, op.Context = []string{"archive"}, true, true
	return runCopy(t, op, layer.NewStack(ix), layer.NewStack(below), files)
}

func TestUnpack(t *testing.T) {
	dir := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o750, Uid: 3, Gid: 4}
	}
	for _, tt := range []struct {
		name    string
		members []tar.Header
		dst     string
		op      planner.Copy
		want    string
		err     string
	}{
		{name: "owners and modes are the archive's", members: []tar.Header{dir("d/"), {Name: "d/f", Mode: 0o4755, Uid: 1, Gid: 2}}, op: planner.Copy{Dest: "/to", Chmod: "600"},
			want: `to/ 755 0:0
				to/d/ 750 3:4
				to/d/f 4755 1:2 =d/f`},
		{name: "unless somebody is named", members: []tar.Header{{Name: "d/f", Uid: 1}}, op: planner.Copy{Dest: "/to", Chown: "9"},
			want: `to/ 755 9:9
				to/d/ 755 0:0
				to/d/f 644 9:9 =d/f`},
		{name: "the archive's top says nothing", members: []tar.Header{dir("./"), {Name: "./f"}}, op: planner.Copy{Dest: "/"}, want: `f 644 0:0 =./f`},
		{name: "names do not leave the destination", members: []tar.Header{{Name: "../../f"}, {Name: "/g"}, {Name: "a/../../h"}}, op: planner.Copy{Dest: "/to"},
			want: `to/ 755 0:0
				to/f 644 0:0 =../../f
				to/g 644 0:0 =/g
				to/h 644 0:0 =a/../../h`},
		{name: "nor do links that are there", members: []tar.Header{{Name: "l/f"}}, dst: `to/l -> /etc
				etc/
				to/etc/`, op: planner.Copy{Dest: "/to"},
			want: `to/ ^
				to/etc/ ^
				to/etc/f 644 0:0 =l/f`},
		{name: "nor links that it brings", members: []tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../../../etc"}, {Name: "l/f"}}, dst: `etc/`, op: planner.Copy{Dest: "/to"},
			err: "no such file"},
		{name: "nor hard links", members: []tar.Header{{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}}, dst: `etc/passwd =secret`, op: planner.Copy{Dest: "/to"}, err: "no such file"},
		{name: "a hard link to what is there", members: []tar.Header{{Name: "h", Typeflag: tar.TypeLink, Linkname: "f", Uid: 5, Mode: 0o600}}, dst: `f 755 =old`, op: planner.Copy{Dest: "/"},
			want: `f 600 5:0 =old
				h == f`},
		{name: "a file over a directory and back", members: []tar.Header{{Name: "d"}, dir("d/"), {Name: "d/x"}}, dst: `d/old =1`, op: planner.Copy{Dest: "/"},
			want: `d/ ! 750 3:4
				d/x 644 0:0 =d/x`},
		{name: "a directory that is there gets metadata", members: []tar.Header{dir("d/")}, dst: `d/old =1`, op: planner.Copy{Dest: "/"}, want: `d/ 750 3:4`},
		{name: "attributes", members: []tar.Header{{Name: "f", Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b", "SCHILY.xattr.security.selinux": "x"}}}, op: planner.Copy{Dest: "/"},
			want: `f 644 0:0 =f @user.a=b`},
		{name: "a whiteout device", members: []tar.Header{{Name: "gone", Typeflag: tar.TypeChar}}, op: planner.Copy{Dest: "/"}, err: "not permitted"},
		{name: "an endless name", members: []tar.Header{{Name: strings.Repeat("a/", 3000) + "f", Format: tar.FormatPAX}}, op: planner.Copy{Dest: "/"}, err: "too long"},
		{name: "over a file", members: []tar.Header{{Name: "f"}}, dst: `to =1`, op: planner.Copy{Dest: "/to"}, err: "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := unpack(t, newTar(t, tt.members...), tt.dst, tt.op)
			checkError(t, err, tt.err)
			if want := lines(tt.want); err == nil && got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestUnpackKnowsArchivesByContent(t *testing.T) {
	plain := newTar(t, tar.Header{Name: "f"})
	compressed := map[string][]byte{
		"plain": plain,
		"gzip":  compress(t, plain, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }),
		"xz":    compress(t, plain, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }),
		"zstd":  compress(t, plain, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }),
	}
	if tool, err := exec.LookPath("bzip2"); err == nil {
		c := exec.Command(tool, "-c")
		c.Stdin = bytes.NewReader(plain)
		if compressed["bzip2"], err = c.Output(); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range compressed {
		t.Run(name, func(t *testing.T) {
			got, err := unpack(t, data, "", planner.Copy{Dest: "/"})
			if err != nil || got != "f 644 0:0 =f\n" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	for name, data := range map[string][]byte{
		"text":              []byte("hello"),
		"empty":             {},
		"a tar of nothing":  newTar(t),
		"compressed text":   compress(t, []byte("hello"), func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }),
		"broken at the top": compressed["gzip"][:12],
	} {
		t.Run(name, func(t *testing.T) {
			got, err := unpack(t, data, "", planner.Copy{Dest: "/"})
			if err != nil || !strings.HasPrefix(got, "archive 600 0:0 =") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func compress(t *testing.T, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An archive that is not the one in the key any more must not be recorded.
func TestUnpackNoticesAnotherArchive(t *testing.T) {
	data := newTar(t, tar.Header{Name: "f"})
	files := contents{}
	e := layer.Entry{Path: "archive", Type: layer.File, Digest: sha256.Sum256([]byte("before"))}
	files[e.Digest] = string(data)
	ix, err := layer.NewIndex([]layer.Entry{e})
	if err != nil {
		t.Fatal(err)
	}
	op := planner.Copy{Sources: []string{"archive"}, Dest: "/", Unpack: true}
	_, err = runCopy(t, op, layer.NewStack(ix), layer.NewStack(), files)
	if !errors.Is(err, layer.ErrChanged) {
		t.Errorf("got %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e := layer.Entry{Path: "a", Type: layer.File, Size: int64(len(data)), Digest: sha256.Sum256(data)}
		ix, err := layer.NewIndex([]layer.Entry{e})
		if err != nil {
			t.Fatal(err)
		}
		files := contents{e.Digest: string(data)}
		op := planner.Copy{Sources: []string{"a"}, Dest: "/to/", Unpack: true}
		sel, err := fileop.Select(op, layer.NewStack(ix))
		if err != nil {
			t.Fatal(err)
		}
		made, err := fileop.Copy(t.Context(), op, sel, fileop.Tree{View: layer.NewStack(), Files: files}, fileop.CopyOptions{Source: files, Now: now, Temp: t.TempDir()})
		if err != nil {
			return
		}
		for _, e := range made.Index.Entries {
			if e.Path != "to" && !strings.HasPrefix(e.Path, "to/") {
				t.Errorf("%q is outside of the destination", e.Path)
			}
			if e.Type == layer.File {
				read(t, made, e)
			}
		}
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	})
}
