package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// memSource is files by path.
type memSource map[string]string

func (m memSource) Open(_ context.Context, e Entry) (io.ReadCloser, error) {
	data, ok := m[e.Path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: e.Path, Err: fs.ErrNotExist}
	}
	return io.NopCloser(strings.NewReader(data)), nil
}

// slowSource gives the same files a byte at a time.
type slowSource struct{ memSource }

func (s slowSource) Open(ctx context.Context, e Entry) (io.ReadCloser, error) {
	r, err := s.memSource.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(iotest.OneByteReader(r)), nil
}

func sampleTar(t testing.TB, src Source, stamps ...int64) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := WriteTar(t.Context(), &out, newSample(t), src, stamps); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestTarIsGolden(t *testing.T) {
	const want = "f439d57369067dc82c3a2280a106948a48671e70dfc0b74ec27edb5e97393356"
	if got := hexSum(sampleTar(t, sampleFiles(), 318_211_200)); got != want {
		t.Errorf("digest of the tar %s, want %s: a change gives every layer another diff ID", got, want)
	}
}

func TestTarDependsOnNothingElse(t *testing.T) {
	want := sampleTar(t, sampleFiles(), 318_211_200)
	if got := sampleTar(t, slowSource{sampleFiles()}, 318_211_200); !bytes.Equal(got, want) {
		t.Error("the tar depends on how its files are read")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if got := sampleTar(t, sampleFiles(), 318_211_200); !bytes.Equal(got, want) {
		t.Error("the tar depends on the number of cores")
	}
}

// writeSizes records the sizes of writes.
type writeSizes []int

func (w *writeSizes) Write(p []byte) (int, error) {
	*w = append(*w, len(p))
	return len(p), nil
}

func TestTarComesInBlocksOfOneSize(t *testing.T) {
	data := strings.Repeat("0123456789", 50_000)
	ix, err := NewIndex([]Entry{{Path: "f", Type: File, Size: int64(len(data)), Digest: sum(data)}})
	if err != nil {
		t.Fatal(err)
	}
	var sizes writeSizes
	if err := WriteTar(t.Context(), &sizes, ix, slowSource{memSource{"f": data}}, []int64{0}); err != nil {
		t.Fatal(err)
	}
	for i, n := range sizes {
		if n != tarBuffer && i < len(sizes)-1 {
			t.Errorf("write %d of %d has %d bytes", i, len(sizes), n)
		}
	}
}

func sum(s string) (d [32]byte) {
	copy(d[:], decodeHex(hexSum([]byte(s))))
	return d
}

func decodeHex(s string) []byte {
	var b []byte
	if _, err := fmt.Sscanf(s, "%x", &b); err != nil {
		panic(err)
	}
	return b
}

// TestOthersReadTheTar reads a tar with the standard library.
func TestOthersReadTheTar(t *testing.T) {
	ix := newSample(t)
	tr := tar.NewReader(bytes.NewReader(sampleTar(t, sampleFiles(), 318_211_200)))
	var names []string
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if !h.ModTime.Equal(time.Unix(318_211_200, 0)) || h.Uname+h.Gname != "" || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() {
			t.Errorf("%s: times or names: %+v", h.Name, h)
		}
		if strings.Contains(h.Name, ".wh.") {
			continue
		}
		e, ok := ix.Find(strings.TrimSuffix(h.Name, "/"))
		if !ok {
			t.Fatalf("%q is not in the index", h.Name)
		}
		if h.Mode != int64(e.Mode) || h.Uid != e.UID || h.Gid != e.GID || h.Linkname != e.Link ||
			h.Devmajor != int64(e.Major) || h.Devminor != int64(e.Minor) {
			t.Errorf("%s: header %+v of entry %+v", h.Name, h, e)
		}
		for _, x := range e.Xattrs {
			if e.Type != Hardlink && h.PAXRecords["SCHILY.xattr."+x.Name] != x.Value {
				t.Errorf("%s: xattr %s is %q", h.Name, x.Name, h.PAXRecords["SCHILY.xattr."+x.Name])
			}
		}
		data, err := io.ReadAll(tr)
		if err != nil || e.Type == File && int64(len(data)) != e.Size {
			t.Errorf("%s: %d bytes, %v", h.Name, len(data), err)
		}
		if e.Pyc > 0 && binary.LittleEndian.Uint32(data[pycTime:]) != 318_211_200 {
			t.Errorf("%s: header names the time %x", h.Name, data[pycTime:pycSize])
		}
	}
	want := []string{
		"etc/", "etc/.wh.shadow-", "etc/hosts", "etc/passwd",
		"opt/", "opt/.wh..wh..opq", "opt/disk", "opt/null", "opt/pipe", "opt/\xff\xfe",
		"opt-2/", "opt-2/m.py", "opt-2/m.pyc", "opt-2/" + strings.Repeat("n", 200),
	}
	if !slices.Equal(names, want) {
		t.Errorf("names\n got %q\nwant %q", names, want)
	}
}

func TestHeadersSayWhatNumbersAndNamesAre(t *testing.T) {
	long := strings.Repeat("d", 90) + "/" + strings.Repeat("e", 60) + "/" + strings.Repeat("f", 99)
	for name, e := range map[string]Entry{
		"size of 8 GiB":   {Path: "f", Type: File, Size: 1 << 33},
		"large owner":     {Path: "f", Type: Fifo, UID: 1 << 21, GID: math.MaxInt32},
		"split name":      {Path: long, Type: Fifo},
		"long name":       {Path: long + "/" + strings.Repeat("g", 200), Type: Fifo},
		"101 bytes":       {Path: strings.Repeat("d", 101), Type: Fifo},
		"100 bytes":       {Path: strings.Repeat("d", 100), Type: Fifo},
		"100 bytes dir":   {Path: strings.Repeat("d", 100), Type: Dir},
		"dir in the edge": {Path: strings.Repeat("d", 155) + "/" + strings.Repeat("e", 99), Type: Dir},
		"not ASCII":       {Path: "é/ü", Type: Fifo},
		"no UTF-8":        {Path: "\xff", Type: Symlink, Link: "\xfe"},
		"long link":       {Path: "l", Type: Symlink, Link: strings.Repeat("x", 4000)},
		"record of 100":   {Path: "l", Type: Fifo, Xattrs: []Xattr{{"user.a", strings.Repeat("x", 100-len("99 SCHILY.xattr.user.a=\n"))}}},
		"record of 99":    {Path: "l", Type: Fifo, Xattrs: []Xattr{{"user.a", strings.Repeat("x", 99-len("99 SCHILY.xattr.user.a=\n"))}}},
	} {
		for _, stamp := range []int64{0, -1, 1 << 34} {
			var out bytes.Buffer
			w := &tarWriter{w: &out, buf: make([]byte, 16<<10), stamp: stamp}
			if err := w.header(&e); err != nil {
				t.Fatal(err)
			}
			if err := w.close(); err != nil {
				t.Fatal(err)
			}
			h, err := tar.NewReader(&out).Next()
			if err != nil {
				t.Errorf("%s, stamp %d: %v", name, stamp, err)
				continue
			}
			if strings.TrimSuffix(h.Name, "/") != e.Path || h.Linkname != e.Link || h.Size != e.Size || h.Uid != e.UID || h.Gid != e.GID || h.ModTime.Unix() != stamp {
				t.Errorf("%s, stamp %d: read as %+v", name, stamp, h)
			}
			for _, x := range e.Xattrs {
				if h.PAXRecords["SCHILY.xattr."+x.Name] != x.Value {
					t.Errorf("%s: xattr %q", name, h.PAXRecords)
				}
			}
		}
	}
}

func TestAFileThatChangedIsNamed(t *testing.T) {
	ix := newSample(t)
	for name, data := range map[string]string{
		"other bytes": "toor", "shorter": "roo", "longer": "roots", "empty": "",
	} {
		files := sampleFiles()
		files["etc/hosts"] = data
		err := WriteTar(t.Context(), io.Discard, ix, files, []int64{0})
		if !errors.Is(err, ErrChanged) || !strings.Contains(fmt.Sprint(err), "etc/hosts") {
			t.Errorf("%s: %v", name, err)
		}
	}
	files := sampleFiles()
	files["opt-2/m.pyc"] = files["opt-2/m.pyc"][:10]
	if err := WriteTar(t.Context(), io.Discard, ix, files, []int64{0}); !errors.Is(err, ErrChanged) {
		t.Errorf("truncated .pyc: %v", err)
	}
}

func TestACompiledFileGetsTheStampOfItsSource(t *testing.T) {
	entries := sample()
	for i := range entries {
		if entries[i].Pyc > 0 {
			entries[i].Pyc = 3
		}
	}
	ix, err := NewIndex(entries)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteTar(t.Context(), io.Discard, ix, sampleFiles(), []int64{1, 2}); err == nil {
		t.Error("a stamp that is missing was not missed")
	}
	var out bytes.Buffer
	if err := WriteTar(t.Context(), &out, ix, sampleFiles(), []int64{1, 2, 0x33333333}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out.Bytes(), []byte("m\x00\r\n\x00\x00\x00\x003333\x03\x00\x00\x00??")) {
		t.Error("the third stamp is not in the header")
	}
}

func TestPycSource(t *testing.T) {
	for path, want := range map[string]string{
		"a/__pycache__/m.cpython-312.pyc":     "a/m.py",
		"__pycache__/m.cpython-312.opt-1.pyc": "m.py",
		"a/__pycache__/m.n.cpython-312.pyc":   "a/m.n.py",
		"a/m.pyc":                             "a/m.py",
		"a/__pycache__/m.pyc":                 "",
		"a/__pycache__/.pyc":                  "",
		"a/.pyc":                              "",
		"a/m.py":                              "",
		"__pycache__/x/m.pyc":                 "__pycache__/x/m.py",
	} {
		if got, ok := pycSource(path); got != want && (ok || want != "") {
			t.Errorf("pycSource(%q) = %q, %v, want %q", path, got, ok, want)
		}
	}
}
