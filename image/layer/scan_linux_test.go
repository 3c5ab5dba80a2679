package layer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"builder/internal/sys"
)

// tree makes a directory of files: a path with a slash at its end is a
// directory, "->" after a path makes a link, "=" a file. All have one time.
func tree(t testing.TB, items ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, item := range items {
		path, data, file := strings.Cut(item, "=")
		name, target, link := strings.Cut(item, "->")
		var err error
		switch {
		case link:
			err = os.Symlink(target, filepath.Join(root, name))
		case file:
			err = os.WriteFile(filepath.Join(root, path), []byte(data), 0o644)
		default:
			err = os.MkdirAll(filepath.Join(root, path), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, item := range slices.Backward(items) {
		path, _, _ := strings.Cut(item, "=")
		path, _, _ = strings.Cut(path, "->")
		setTime(t, filepath.Join(root, path), 1000)
	}
	return root
}

func setTime(t testing.TB, path string, seconds int64) {
	t.Helper()
	d, err := sys.OpenDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.SetTime(filepath.Base(path), seconds*1e9); err != nil {
		t.Fatal(err)
	}
}

// listed gives changes to Scan: "-path" is gone, "*path" opaque.
func listed(paths ...string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for _, p := range paths {
			c := Change{Path: p}
			switch p[0] {
			case '-':
				c = Change{p[1:], Delete}
			case '*':
				c = Change{p[1:], Opaque}
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// names shows an index: "-" before what is gone, "(…)" around a directory that
// is there for what is in it, "@" before a hard link.
func names(ix *Index) string {
	var list []string
	for _, e := range ix.Entries {
		s := e.Path
		switch {
		case e.Type == Whiteout:
			s = "-" + s
		case e.Parent:
			s = "(" + s + ")"
		case e.Type == Hardlink:
			s = "@" + s
		}
		list = append(list, s)
	}
	return strings.Join(list, " ")
}

func TestScanKeepsWhatChanged(t *testing.T) {
	base := []string{"d/", "d/sub/", "d/sub/f=1", "d/g=2", "l->d", "old=3"}
	below := NewStack(scanAll(t, tree(t, base...)))
	same := func(t *testing.T, change func(root string)) string {
		root := tree(t, base...)
		change(root)
		return root
	}
	for _, c := range []struct {
		name    string
		change  func(root string) error
		changes []string
		want    string
	}{
		{"nothing", nil, []string{"d", "d/sub", "d/sub/f", "d/g", "l", "old"}, ""},
		{"a directory's time", func(r string) error { return os.Chtimes(r+"/d", time.Now(), time.Now()) }, []string{"d"}, ""},
		{"a file's time", func(r string) error { return os.Chtimes(r+"/d/g", time.Now(), time.Now()) }, []string{"d", "d/g"}, "(d) d/g"},
		{"a file's mode", func(r string) error { return os.Chmod(r+"/d/sub/f", 0o600) }, []string{"d", "d/sub", "d/sub/f"}, "(d) (d/sub) d/sub/f"},
		{"a directory's mode", func(r string) error { return os.Chmod(r+"/d/sub", 0o700) }, []string{"d", "d/sub", "d/sub/f"}, "(d) d/sub"},
		{"bytes under the same size and time", func(r string) error {
			err := os.WriteFile(r+"/d/g", []byte("9"), 0o644)
			setTime(t, r+"/d/g", 1000)
			return err
		}, []string{"d", "d/g"}, "(d) d/g"},
		{"a link's target", func(r string) error {
			os.Remove(r + "/l")
			err := os.Symlink("x", r+"/l")
			setTime(t, r+"/l", 1000)
			return err
		}, []string{"l"}, "l"},
		{"a removal", func(r string) error { return os.Remove(r + "/d/g") }, []string{"d", "-d/g"}, "(d) -d/g"},
		{"a removal of what was never there", nil, []string{"-d/nothing", "-x"}, ""},
		{"a removal that the directory does not list", func(r string) error { return os.RemoveAll(r + "/d") }, []string{"-d/g"}, "(d) -d/g"},
		{"an opaque directory", func(r string) error { return os.Remove(r + "/d/g") }, []string{"d", "*d", "d/sub"}, "(d) -d/g (d/sub) -d/sub/f"},
		{"an opaque directory with all in place", nil, []string{"d", "*d", "d/g", "d/sub", "d/sub/f"}, ""},
		{"an opaque directory where none was", func(r string) error { return os.Mkdir(r+"/n", 0o755) }, []string{"n", "*n"}, "n"},
		{"an opaque directory in a file's place", func(r string) error {
			os.Remove(r + "/old")
			return os.Mkdir(r+"/old", 0o755)
		}, []string{"old", "*old"}, "old"},
		{"a file in a directory's place", func(r string) error {
			os.RemoveAll(r + "/d")
			return os.WriteFile(r+"/d", nil, 0o644)
		}, []string{"d"}, "d"},
		{"a socket", func(r string) error {
			l, err := net.Listen("unix", r+"/d/s")
			t.Cleanup(func() { l.Close() })
			return err
		}, []string{"d", "d/s"}, ""},
		{"names of one file", func(r string) error {
			if err := os.WriteFile(r+"/d/z", []byte("z"), 0o644); err != nil {
				return err
			}
			return os.Link(r+"/d/z", r+"/b")
		}, []string{"d", "d/z", "b"}, "b (d) @d/z"},
		{"a new name of a file that did not change", func(r string) error { return os.Link(r+"/old", r+"/new") }, []string{"new", "old"}, "new"},
		{"the root", func(r string) error { return os.Chmod(r, 0o711) }, []string{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := same(t, func(root string) {
				if c.change == nil {
					return
				}
				if err := c.change(root); err != nil {
					t.Fatal(err)
				}
			})
			if got := names(scanOver(t, root, listed(c.changes...), below)); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestScanAsksForTheTimeOfWhatStandsBelow(t *testing.T) {
	below := NewStack(scanAll(t, tree(t, "f=1")))
	root := tree(t, "f=1")
	setTime(t, root+"/f", 5000)
	o := ScanOptions{Mtime: func(e Entry) (int64, error) { return 5000e9, nil }}
	ix, err := Scan(t.Context(), root, listed("f"), below, o)
	if err != nil || len(ix.Entries) > 0 {
		t.Errorf("%v, %v: the tree below was grafted with that time", ix, err)
	}
	setTime(t, root+"/f", 1000)
	ix, err = Scan(t.Context(), root, listed("f"), below, o)
	if err != nil || len(ix.Entries) == 0 {
		t.Errorf("%v, %v: the file has another time than the one below", ix, err)
	}
}

func TestScanRefusesWhatItIsToldWrong(t *testing.T) {
	root := tree(t, "f=1", "l->/etc")
	for _, path := range []string{"nothing", "../f", "l/passwd", "f/x"} {
		if ix, err := Scan(t.Context(), root, listed(path), NewStack(), ScanOptions{}); err == nil {
			t.Errorf("%s: scanned as %v", path, ix.Entries)
		}
	}
}

// pyc returns a compiled Python file.
func pyc(flags uint32, mtime, size int, body string) string {
	b := []byte("\xcb\x0d\r\n")
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint32(b, uint32(mtime))
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	return string(b) + body
}

func TestCompiledPythonFiles(t *testing.T) {
	base := scanAll(t, tree(t, "base.py=12345"))
	own := scanOver(t, tree(t, "own.py=123"), listed("own.py"), NewStack(base))
	below := NewStack(base, own)
	root := tree(t,
		"m.py=12345", "__pycache__/",
		"__pycache__/m.cpython-312.pyc="+pyc(0, 1000, 5, "code"),
		"__pycache__/m.cpython-311.pyc="+pyc(0, 999, 5, "another time"),
		"__pycache__/m.cpython-310.pyc="+pyc(0, 1000, 6, "another size"),
		"__pycache__/m.cpython-313.pyc="+pyc(3, 1000, 5, "checked by hash"),
		"__pycache__/own.cpython-312.pyc="+pyc(0, 1000, 3, "code"),
		"__pycache__/base.cpython-312.pyc="+pyc(0, 1000, 5, "code"),
		"__pycache__/none.cpython-312.pyc="+pyc(0, 1000, 5, "code"),
		"__pycache__/short.cpython-312.pyc=short",
		"m.pyc="+pyc(0, 1000, 5, "legacy"),
		"linked.py->m.py",
		"__pycache__/linked.cpython-312.pyc="+pyc(0, 1000, 5, "code"),
	)
	changes := fullChanges(nil, describeTree(t, root, false))
	for foreign, want := range map[int]map[string]uint8{
		0: {"__pycache__/linked.cpython-312.pyc": 1, "m.pyc": 1, "__pycache__/m.cpython-312.pyc": 1, "__pycache__/own.cpython-312.pyc": 2, "__pycache__/base.cpython-312.pyc": 3},
		1: {"__pycache__/linked.cpython-312.pyc": 1, "m.pyc": 1, "__pycache__/m.cpython-312.pyc": 1, "__pycache__/own.cpython-312.pyc": 2},
	} {
		ix, err := Scan(t.Context(), root, changes, below, ScanOptions{Foreign: foreign})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ix.Entries {
			if e.Pyc != want[e.Path] {
				t.Errorf("%d foreign layers: %s has %d, want %d", foreign, e.Path, e.Pyc, want[e.Path])
			}
		}
		checkPyc(t, root, ix)
	}
}

// checkPyc remakes a layer at another time: its content is the same, its tar the
// same, and in a tree written from it the headers name their sources' times.
func checkPyc(t *testing.T, root string, ix *Index) {
	t.Helper()
	tar := writeTar(t, ix, root, 50, 51, 52)
	dir := t.TempDir()
	later := time.Unix(7777, 0)
	err := WriteTree(t.Context(), dir, ix, NewTarSource(bytes.NewReader(tar)), TreeOptions{Time: later})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"m.pyc": 7777, "__pycache__/linked.cpython-312.pyc": 7777, "__pycache__/own.cpython-312.pyc": 51} {
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || binary.LittleEndian.Uint32([]byte(data)[pycTime:]) != uint32(want) {
			t.Errorf("%s: header %x, %v, want the time %d", path, data[:pycHeader], err, want)
		}
	}
	if again := writeTar(t, ix, dir, 50, 51, 52); !bytes.Equal(again, tar) {
		t.Error("the tar is another one when it is written from the new tree")
	}
}

func TestACopiedUpCompiledFileIsUnchanged(t *testing.T) {
	items := []string{"m.py=12345", "m.pyc=" + pyc(0, 1000, 5, "x")}
	base := scanAll(t, tree(t, items...))
	if e, _ := base.Find("m.pyc"); e.Pyc != 1 {
		t.Fatalf("%+v", e)
	}
	if got := names(scanOver(t, tree(t, items...), listed("m.pyc"), NewStack(base))); got != "" {
		t.Errorf("kept %q", got)
	}
}

// manyFiles makes a tree of n small files.
func manyFiles(tb testing.TB, n int) string {
	tb.Helper()
	root := tb.TempDir()
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("d%03d", i/500), fmt.Sprintf("e%02d", i/50%10))
		if i%50 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				tb.Fatal(err)
			}
		}
		data := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 1400)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%05d", i)), data, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return root
}

const benchFiles = 5000

func perFile(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/benchFiles, "µs/file")
}

func BenchmarkScan(b *testing.B) {
	root := manyFiles(b, benchFiles)
	changes := fullChanges(nil, describeTree(b, root, false))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Scan(b.Context(), root, changes, NewStack(), ScanOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	perFile(b)
}

func BenchmarkWriteTar(b *testing.B) {
	root := manyFiles(b, benchFiles)
	ix := scanAll(b, root)
	src, err := OpenDir(root)
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	b.ReportAllocs()
	for b.Loop() {
		var w writeSizes
		if err := WriteTar(b.Context(), &w, ix, src, []int64{1}); err != nil {
			b.Fatal(err)
		}
	}
	perFile(b)
}

func BenchmarkApply(b *testing.B) {
	root := manyFiles(b, benchFiles)
	tar := writeTar(b, scanAll(b, root), root, 1)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		b.StartTimer()
		if _, err := Apply(b.Context(), dir, bytes.NewReader(tar), ApplyOptions{Whiteouts: WhiteoutsUser}); err != nil {
			b.Fatal(err)
		}
	}
	perFile(b)
}

func BenchmarkApplyIndexOnly(b *testing.B) {
	root := manyFiles(b, benchFiles)
	tar := writeTar(b, scanAll(b, root), root, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Apply(b.Context(), "", bytes.NewReader(tar), ApplyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	perFile(b)
}

func BenchmarkWriteTree(b *testing.B) {
	root := manyFiles(b, benchFiles)
	ix := scanAll(b, root)
	src, err := OpenDir(root)
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		b.StartTimer()
		if err := WriteTree(b.Context(), dir, ix, src, TreeOptions{Whiteouts: WhiteoutsUser}); err != nil {
			b.Fatal(err)
		}
	}
	perFile(b)
}
