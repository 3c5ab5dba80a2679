package layer

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// foreign makes a tar of headers. A regular file's content is its Xattrs' "data"
// record, which is no part of the tar.
func foreign(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		data := h.PAXRecords["data"]
		h.PAXRecords = maps.Clone(h.PAXRecords)
		delete(h.PAXRecords, "data")
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		h.Size = int64(len(data))
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if h.Uid == 0 {
			h.Uid, h.Gid = os.Geteuid(), os.Getegid()
		}
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func dirHeader(name string) tar.Header  { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
func goneHeader(name string) tar.Header { return tar.Header{Name: name} }
func fileHeader(name, data string) tar.Header {
	return tar.Header{Name: name, PAXRecords: map[string]string{"data": data}}
}
func linkHeader(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink}
}
func symlinkHeader(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}
}

// listing returns the tree's paths: directories with a slash, files with their
// content, links with their target.
func listing(t testing.TB, root string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel := strings.TrimPrefix(path, root+"/")
		switch {
		case d.IsDir():
			rel += "/"
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			rel += "->" + target
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel += "=" + string(data)
		}
		list = append(list, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}

// below is a tree that foreign layers are applied to.
func belowTree(t testing.TB, root string) {
	t.Helper()
	apply(t, root, foreign(t,
		dirHeader("d"), fileHeader("d/old", "1"), dirHeader("d/sub"), fileHeader("d/sub/deep", "2"),
		dirHeader("usr"), dirHeader("usr/lib"), fileHeader("usr/lib/so", "3"), symlinkHeader("lib", "usr/lib"),
		fileHeader("f", "4"), symlinkHeader("abs", "/usr"), symlinkHeader("out", "../../../../outside"),
	), ApplyOptions{})
}

const belowList = "abs->/usr d/ d/old=1 d/sub/ d/sub/deep=2 f=4 lib->usr/lib out->../../../../outside usr/ usr/lib/ usr/lib/so=3"

func TestForeignLayers(t *testing.T) {
	for _, c := range []struct {
		name string
		tar  []tar.Header
		want string // what differs from below: "-path" is gone, anything else is there
	}{
		{"a whiteout", []tar.Header{goneHeader("d/.wh.old")}, "-d/old=1"},
		{"a whiteout of a directory", []tar.Header{goneHeader(".wh.d")}, "-d/ -d/old=1 -d/sub/ -d/sub/deep=2"},
		{"a whiteout of nothing", []tar.Header{goneHeader("d/.wh.nothing")}, ""},
		{"an opaque mark hides what is below", []tar.Header{dirHeader("d"), goneHeader("d/.wh..wh..opq"), fileHeader("d/new", "n")}, "-d/old=1 -d/sub/ -d/sub/deep=2 d/new=n"},
		{"an opaque mark after the entries", []tar.Header{dirHeader("d/sub"), fileHeader("d/sub/new", "n"), goneHeader("d/.wh..wh..opq")}, "-d/old=1 -d/sub/deep=2 d/sub/new=n"},
		{"an opaque root", []tar.Header{goneHeader(".wh..wh..opq"), dirHeader("d"), fileHeader("d/new", "n")},
			"-abs->/usr -d/old=1 -d/sub/ -d/sub/deep=2 -f=4 -lib->usr/lib -out->../../../../outside -usr/ -usr/lib/ -usr/lib/so=3 d/new=n"},
		{"a whiteout does not concern its own layer", []tar.Header{fileHeader("d/old", "n"), goneHeader("d/.wh.old")}, "-d/old=1 d/old=n"},
		{"a whiteout before the file", []tar.Header{goneHeader("d/.wh.old"), fileHeader("d/old", "n")}, "-d/old=1 d/old=n"},
		{"a whiteout before the directory", []tar.Header{goneHeader(".wh.d"), dirHeader("d"), fileHeader("d/new", "n")}, "-d/old=1 -d/sub/ -d/sub/deep=2 d/new=n"},
		{"a whiteout after the directory", []tar.Header{dirHeader("d"), fileHeader("d/new", "n"), goneHeader(".wh.d")}, "-d/old=1 -d/sub/ -d/sub/deep=2 d/new=n"},
		{"a whiteout and what is in it", []tar.Header{goneHeader(".wh.d"), fileHeader("d/new", "n")}, "-d/old=1 -d/sub/ -d/sub/deep=2 d/new=n"},
		{"the last of two entries counts", []tar.Header{fileHeader("x", "1"), fileHeader("x", "2")}, "x=2"},
		{"a directory becomes a file", []tar.Header{fileHeader("d", "n")}, "-d/ -d/old=1 -d/sub/ -d/sub/deep=2 d=n"},
		{"a file becomes a directory", []tar.Header{dirHeader("f"), fileHeader("f/x", "n")}, "-f=4 f/ f/x=n"},
		{"a directory becomes a link that is written through", []tar.Header{dirHeader("e"), fileHeader("e/x", "1"), symlinkHeader("e", "usr"), fileHeader("e/y", "2")}, "e->usr usr/y=2"},
		{"a name through a link below", []tar.Header{fileHeader("lib/new", "n")}, "usr/lib/new=n"},
		{"a name through an absolute link below", []tar.Header{fileHeader("abs/lib/new", "n")}, "usr/lib/new=n"},
		{"a name through a link that leads out", []tar.Header{fileHeader("out/new", "n")}, "outside/ outside/new=n"},
		{"a name through a link of this layer", []tar.Header{symlinkHeader("l", "d/../usr/./lib"), fileHeader("l/new", "n")}, "l->d/../usr/./lib usr/lib/new=n"},
		{"a directory in a link's place", []tar.Header{dirHeader("lib"), fileHeader("lib/x", "n")}, "-lib->usr/lib lib/ lib/x=n"},
		{"a whiteout of a link, and its name again", []tar.Header{fileHeader("lib/x", "1"), goneHeader(".wh.lib"), fileHeader("lib/y", "2")}, "-lib->usr/lib usr/lib/x=1 lib/ lib/y=2"},
		{"an absolute name", []tar.Header{fileHeader("/abs.txt", "n")}, "abs.txt=n"},
		{"a name with dots", []tar.Header{fileHeader("./d/../d/./x", "n")}, "d/x=n"},
		{"parents that nobody listed", []tar.Header{fileHeader("p/q/r", "n")}, "p/ p/q/ p/q/r=n"},
		{"hard links in any order of names", []tar.Header{fileHeader("z", "n"), linkHeader("m", "z"), linkHeader("a/n", "m")}, "a/ a/n=n m=n z=n"},
		{"a hard link to a lower layer", []tar.Header{linkHeader("n", "d/old")}, "n=1"},
		{"a hard link through a symbolic link", []tar.Header{linkHeader("n", "lib/so")}, "n=3"},
		{"a hard link's first name goes", []tar.Header{fileHeader("y", "1"), linkHeader("z", "y"), fileHeader("y", "2")}, "y=2 z=1"},
		{"a hard link twice", []tar.Header{fileHeader("y", "1"), linkHeader("z", "y"), linkHeader("z", "y")}, "y=1 z=1"},
		{"the root", []tar.Header{{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700}, dirHeader(".")}, ""},
		{"what aufs left behind", []tar.Header{dirHeader(".wh..wh.plnk"), fileHeader(".wh..wh.plnk/1.2", "x"), fileHeader(".wh..wh.aufs", "x")}, ""},
		{"long names", []tar.Header{fileHeader("d/"+strings.Repeat("n", 255), "n")}, "d/" + strings.Repeat("n", 255) + "=n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, want := map[string]bool{}, map[string]bool{}
			for _, p := range strings.Split(belowList, " ") {
				base[p], want[p] = true, true
			}
			for _, p := range strings.Fields(c.want) {
				if gone, ok := strings.CutPrefix(p, "-"); ok {
					if !base[gone] {
						t.Fatalf("%s was never there", gone)
					}
					delete(want, gone)
				} else {
					want[p] = true
				}
			}
			data := foreign(t, c.tar...)
			lower, plain, upper := t.TempDir(), t.TempDir(), t.TempDir()
			belowTree(t, lower)
			belowTree(t, plain)
			below := scanAll(t, lower)

			if _, err := Apply(t.Context(), plain, bytes.NewReader(data), ApplyOptions{}); errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
				t.Skip("a directory that the tar does not list belongs to root")
			} else if err != nil {
				t.Fatal(err)
			}
			sameListing(t, "applied", listing(t, plain), want)

			o := ApplyOptions{Whiteouts: WhiteoutsTrusted, Below: NewStack(below), Open: opener(lower)}
			if os.Geteuid() != 0 {
				return // trusted.* needs root, and so does the mount
			}
			ix := apply(t, upper, data, o)
			empty := t.TempDir()
			merged := overlay(t, overlayOf(upper, lower, empty))
			copied := t.TempDir()
			copyTree(t, merged+"/.", copied)
			sameListing(t, "as an overlay", listing(t, copied), want)

			only := apply(t, "", data, ApplyOptions{Below: NewStack(below)})
			sameEntries(t, "index alone", only.Entries, ix.Entries)
			sameStack(t, dropLinks{NewStack(below, ix)}, dropLinks{NewStack(scanAll(t, copied))})
		})
	}
}

// dropLinks shows hard links as files: a link from one layer into another is a
// file of its own to a Stack.
type dropLinks struct{ View }

func (d dropLinks) Lookup(path string) (Entry, bool) {
	e, ok := d.View.Lookup(path)
	return dropLink(e), ok
}

func (d dropLinks) ReadDir(path string) []Entry {
	list := d.View.ReadDir(path)
	for i := range list {
		list[i] = dropLink(list[i])
	}
	return list
}

func dropLink(e Entry) Entry {
	if e.Type == Hardlink {
		e.Type, e.Link = File, ""
	}
	e.Mtime = 0
	return e
}

func sameListing(t *testing.T, what, got string, want map[string]bool) {
	t.Helper()
	for _, p := range strings.Split(got, " ") {
		if !want[p] {
			t.Errorf("%s: %q should not be there", what, p)
		}
	}
	seen := " " + got + " "
	for p := range want {
		if !strings.Contains(seen, " "+p+" ") {
			t.Errorf("%s: %q is missing", what, p)
		}
	}
}

func TestHostileLayersAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		tar  []tar.Header
		want error
	}{
		{"a name that leads out", []tar.Header{fileHeader("../x", "n")}, ErrEscape},
		{"a name that leads out later", []tar.Header{fileHeader("a/../../x", "n")}, ErrEscape},
		{"a hard link that leads out", []tar.Header{linkHeader("x", "../../etc/passwd")}, ErrEscape},
		{"a whiteout of the parent", []tar.Header{goneHeader("a/.wh...")}, ErrEscape},
		{"a whiteout of the directory", []tar.Header{goneHeader("a/.wh..")}, ErrEscape},
		{"a whiteout of nothing", []tar.Header{goneHeader("a/.wh.")}, ErrEscape},
		{"a hard link to nothing", []tar.Header{linkHeader("x", "nothing")}, fs.ErrNotExist},
		{"a hard link to what has gone", []tar.Header{goneHeader(".wh.f"), linkHeader("x", "f")}, fs.ErrNotExist},
		{"a hard link to a directory", []tar.Header{dirHeader("a"), linkHeader("x", "a")}, nil},
		{"a hard link to the root", []tar.Header{linkHeader("x", "/")}, nil},
		{"a hard link to itself", []tar.Header{fileHeader("x", "n"), linkHeader("x", "x")}, nil},
		{"a hard link into what it replaces", []tar.Header{dirHeader("a"), fileHeader("a/b", "n"), linkHeader("a", "a/b")}, nil},
		{"a loop of links", []tar.Header{symlinkHeader("a", "b"), symlinkHeader("b", "a"), fileHeader("a/x", "n")}, nil},
		{"links that grow", []tar.Header{symlinkHeader("a", strings.Repeat("a/", 1900)+"x"), fileHeader("a/x", "n")}, nil},
		{"a file as a parent", []tar.Header{fileHeader("a", "n"), fileHeader("a/x", "n")}, nil},
		{"a name that is too long", []tar.Header{fileHeader(strings.Repeat("n", 256), "n")}, nil},
		{"a path that is too long", []tar.Header{fileHeader(strings.Repeat("nn/", 1400)+"x", "n")}, nil},
		{"an overlay's whiteout", []tar.Header{{Name: "x", Typeflag: tar.TypeChar}}, nil},
		{"an unknown type", []tar.Header{{Name: "x", Typeflag: 'Z'}}, nil},
	} {
		for _, style := range []Whiteouts{WhiteoutsApplied, WhiteoutsUser} {
			outside := t.TempDir()
			dir := filepath.Join(outside, "root")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := Apply(t.Context(), dir, bytes.NewReader(foreign(t, c.tar...)), ApplyOptions{Whiteouts: style})
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s, whiteouts %d: %v, want %v", c.name, style, err, c.want)
			}
			if _, err := Apply(t.Context(), "", bytes.NewReader(foreign(t, c.tar...)), ApplyOptions{}); err == nil && c.want != fs.ErrNotExist && !strings.HasSuffix(c.name, "the root") {
				t.Errorf("%s: the index alone is accepted", c.name)
			}
			if names, _ := os.ReadDir(outside); len(names) != 1 {
				t.Errorf("%s: something stands outside the root: %v", c.name, names)
			}
		}
	}
}

// endless is a tar without an end: a part of one, again and again.
type endless struct {
	part []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.part[e.at:])
	e.at = (e.at + n) % len(e.part)
	return n, nil
}

func TestLimits(t *testing.T) {
	one := foreign(t, fileHeader("x", "n"))
	if _, err := Apply(t.Context(), "", &endless{part: one[:1024]}, ApplyOptions{Limit: 1 << 20}); !errors.Is(err, ErrLimit) {
		t.Errorf("endless input: %v", err)
	}
	if _, err := Apply(t.Context(), "", &endless{part: one[:1024]}, ApplyOptions{MaxEntries: 100}); !errors.Is(err, ErrLimit) {
		t.Errorf("endless entries: %v", err)
	}
	if _, err := Apply(t.Context(), "", bytes.NewReader(one), ApplyOptions{Limit: int64(len(one)), MaxEntries: 1}); err != nil {
		t.Errorf("input that just fits: %v", err)
	}
	var huge bytes.Buffer
	w := tar.NewWriter(&huge)
	if err := w.WriteHeader(&tar.Header{Name: "x", Size: 1 << 50, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := Apply(t.Context(), "", &huge, ApplyOptions{Limit: 1 << 40}); !errors.Is(err, ErrLimit) {
		t.Errorf("a file that says it is huge: %v", err)
	}
	for n := 1; n <= 512; n++ { // the header and no content
		if _, err := Apply(t.Context(), "", bytes.NewReader(one[:n]), ApplyOptions{}); err == nil {
			t.Errorf("cut after %d bytes: no error", n)
		}
	}
}

func TestNoTimeIsLaterThanLatest(t *testing.T) {
	latest := time.Unix(1_700_000_000, 5)
	h := fileHeader("late", "n")
	h.ModTime = latest.Add(time.Hour)
	e := fileHeader("early", "n")
	e.ModTime = time.Unix(12, 0)
	ix := apply(t, "", foreign(t, h, e), ApplyOptions{Latest: latest})
	if ix.Entries[0].Mtime != 12e9 || ix.Entries[1].Mtime != latest.UnixNano() {
		t.Errorf("times: %+v", ix.Entries)
	}
}

func TestASparseFileIsWrittenPlainly(t *testing.T) {
	// What GNU tar --sparse --format=pax makes of "\0"*8192 + "end": PAX 1.0.
	body := "1\n8192\n3\n"
	data := body + strings.Repeat("\x00", 512-len(body)) + "end"
	pax := ""
	for _, r := range []string{"22 GNU.sparse.major=1\n", "22 GNU.sparse.minor=0\n", "22 GNU.sparse.name=sp\n", "27 GNU.sparse.realsize=8195\n"} {
		kv := r[3:]
		n := len(kv) + 3
		pax += string(rune('0'+n/10)) + string(rune('0'+n%10)) + " " + kv
	}
	var out bytes.Buffer
	w := &tarWriter{w: &out, buf: make([]byte, 64<<10)}
	if err := errors.Join(
		w.put(header{entry: &Entry{}, kind: tarPax, name: "x", size: int64(len(pax))}), put(w, []byte(pax)), w.pad(),
		w.put(header{entry: &Entry{Mode: 0o644}, kind: tarFile, name: "GNUSparseFile.0/sp", size: int64(len(data))}), put(w, []byte(data)), w.pad(), w.close(),
	); err != nil {
		t.Fatal(err)
	}
	ix := apply(t, "", out.Bytes(), ApplyOptions{})
	want := sha256.Sum256([]byte(strings.Repeat("\x00", 8192) + "end"))
	if len(ix.Entries) != 1 || ix.Entries[0].Path != "sp" || ix.Entries[0].Size != 8195 || ix.Entries[0].Digest != want {
		t.Errorf("read as %+v", ix.Entries)
	}
}

func TestASparseFileIsNotAsLargeAsItSays(t *testing.T) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	// Go writes no sparse files; a header of the old GNU form is soon made.
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "x", Mode: 0o644, Format: tar.FormatGNU}), w.Close()); err != nil {
		t.Fatal(err)
	}
	h := out.Bytes()[:512]
	h[156] = 'S'
	copy(h[483:495], "\x80\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00") // 1 EiB
	copy(h[148:156], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	for _, dir := range []string{"", t.TempDir()} {
		if _, err := Apply(t.Context(), dir, bytes.NewReader(out.Bytes()), ApplyOptions{}); !errors.Is(err, ErrLimit) {
			t.Errorf("into %q: %v", dir, err)
		}
	}
}

// FuzzApply applies any bytes: nothing but the root changes, nothing panics, and
// the index agrees with the tree.
func FuzzApply(f *testing.F) {
	f.Add(foreign(f, dirHeader("d"), fileHeader("d/f", "x"), linkHeader("l", "d/f"), symlinkHeader("s", "../.."), fileHeader("s/x", "y")), uint8(0))
	f.Add(foreign(f, goneHeader("d/.wh.f"), goneHeader("d/.wh..wh..opq"), fileHeader("/../a", "x")), uint8(1))
	f.Add(foreign(f, symlinkHeader("d", "/outside"), fileHeader("d/canary", "bad"), dirHeader("d"), goneHeader("d/.wh.canary")), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, style uint8) {
		outside := t.TempDir()
		if err := os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(outside, "root")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		o := ApplyOptions{Whiteouts: Whiteouts(style % 3), Limit: 1 << 20, MaxEntries: 1000}
		ix, err := Apply(t.Context(), dir, bytes.NewReader(data), o)
		if names, _ := os.ReadDir(outside); len(names) != 2 {
			t.Fatalf("outside the root: %v", names)
		}
		if canary, _ := os.ReadFile(filepath.Join(outside, "canary")); string(canary) != "alive" {
			t.Fatal("a file outside the root has changed")
		}
		if err != nil {
			return
		}
		if err := ix.check(); err != nil {
			t.Fatalf("index: %v", err)
		}
		if o.Whiteouts != WhiteoutsApplied {
			return
		}
		sameStack(t, dropLinks{NewStack(ix)}, dropLinks{NewStack(scanAll(t, dir))})
	})
}
