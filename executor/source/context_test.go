package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"builder/image/layer"
)

// write makes files out of a list of paths: "d/" is a directory, "l>t" a link,
// everything else a file that holds its own name.
func write(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		link, target, isLink := strings.Cut(name, ">")
		full := filepath.Join(dir, link)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, full)
		case strings.HasSuffix(name, "/"):
			err = os.Mkdir(full, 0o755)
		default:
			err = os.WriteFile(full, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, dir string, known Digests, ignore ...string) *Context {
	t.Helper()
	c, err := OpenContext(t.Context(), dir, ignore, known)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// list returns all entries, which must agree with what Lookup says.
func list(t *testing.T, c *Context) []layer.Entry {
	t.Helper()
	var all []layer.Entry
	var walk func(dir string)
	walk = func(dir string) {
		for _, e := range c.ReadDir(dir) {
			if found, ok := c.Lookup(e.Path); !ok || found.Type != e.Type || found.Digest != e.Digest {
				t.Errorf("Lookup(%q) = %v, %v", e.Path, found, ok)
			}
			all = append(all, e)
			if e.Type == layer.Dir {
				walk(e.Path)
			}
		}
	}
	walk("")
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func paths(entries []layer.Entry) string {
	var names []string
	for _, e := range entries {
		if e.Type == layer.Dir {
			e.Path += "/"
		}
		names = append(names, e.Path)
	}
	return strings.Join(names, " ")
}

func TestIgnore(t *testing.T) {
	for _, tt := range []struct{ name, ignore, want string }{
		{"nothing", "", "a/ a/b/ a/b/x.log a/y c/ c/z.log d/ d/e/ e.md"},
		{"a directory with all in it", "a", "c/ c/z.log d/ d/e/ e.md"},
		{"names anywhere", "**/*.log", "a/ a/b/ a/y c/ d/ d/e/ e.md"},
		{"an exception brings back what it is in", "a !a/b/x.log", "a/ a/b/ a/b/x.log c/ c/z.log d/ d/e/ e.md"},
		{"an exception with a wildcard", "* !**/*.log", "a/ a/b/ a/b/x.log c/ c/z.log"},
		{"an exception for nothing", "a !a/q", "c/ c/z.log d/ d/e/ e.md"},
		{"the last one wins", "*.md !e.md e.*", "a/ a/b/ a/b/x.log a/y c/ c/z.log d/ d/e/"},
		{"an unusual pattern", "[ac] d/?", "d/ e.md"},
		{"everything but", "** !d", "d/ d/e/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "a/b/x.log", "a/y", "c/z.log", "d/", "d/e/", "e.md")
			if got := paths(list(t, open(t, dir, nil, strings.Fields(tt.ignore)...))); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestBadIgnorePatternIsAnError(t *testing.T) {
	if _, err := OpenContext(t.Context(), t.TempDir(), []string{"a[", "!"}, nil); err == nil {
		t.Error("no error")
	}
}

// unreadable is a directory that cannot be read even by root, because it is gone
// when somebody looks into it and a file has taken its place.
func unreadable(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyWhatIsLookedAtIsRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a/f", "b/", "c/")
	c := open(t, dir, nil, "c")
	if got := paths(c.ReadDir("")); got != "a/ b/" {
		t.Fatal(got)
	}
	unreadable(t, filepath.Join(dir, "b"))
	if _, ok := c.Lookup("a/f"); !ok || c.Err() != nil {
		t.Errorf("a/f: %v, %v", ok, c.Err())
	}
	c.Preload("")
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "b")) {
		t.Errorf("an error that names b: got %v", err)
	}
}

func TestEntriesAreWhatBuildKitsClientSends(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "f", "l>/etc/passwd", "d/")
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Link(at("f"), at("g")),
		unix.Chmod(at("f"), 0o4750),
		unix.Mkfifo(at("p"), 0o600),
		unix.Mknod(at("s"), unix.S_IFSOCK|0o755, 0),
		os.WriteFile(at("\xff\xfe"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setxattr(at("f"), "user.a", []byte("b"), 0); err != nil && err != unix.ENOTSUP {
		t.Fatal(err)
	}
	c := open(t, dir, nil)
	all := list(t, c)
	if err := c.Digest(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprintf("%q %d %o %d:%d %q", e.Path, e.Type, e.Mode, e.UID, e.GID, e.Link))
	}
	want := []string{
		fmt.Sprintf("%q %d 755 0:0 %q", "d", layer.Dir, ""),
		fmt.Sprintf("%q %d 4750 0:0 %q", "f", layer.File, ""),
		fmt.Sprintf("%q %d 4750 0:0 %q", "g", layer.Hardlink, "f"),
		fmt.Sprintf("%q %d 777 0:0 %q", "l", layer.Symlink, "/etc/passwd"),
		fmt.Sprintf("%q %d 600 0:0 %q", "p", layer.Fifo, ""),
		fmt.Sprintf("%q %d 755 0:0 %q", "s", layer.File, ""),
		fmt.Sprintf("%q %d 644 0:0 %q", "\xff\xfe", layer.File, ""),
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
	for _, e := range all {
		if e.Type == layer.File || e.Type == layer.Hardlink {
			read(t, c, e)
		}
	}
}

func read(t *testing.T, c *Context, e layer.Entry) string {
	t.Helper()
	r, err := c.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if e.Digest != sha256.Sum256(data) || e.Size != int64(len(data)) {
		t.Errorf("%s: %d bytes are not what the entry describes", e.Path, len(data))
	}
	return string(data)
}

// ledger remembers digests and how often it was asked.
type ledger struct {
	mu     sync.Mutex
	known  map[Stat][32]byte
	hits   int
	stores int
}

func (l *ledger) Lookup(s Stat) ([32]byte, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.known[s]
	if ok {
		l.hits++
	}
	return d, ok
}

func (l *ledger) Store(s Stat, d [32]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[s] = d
	l.stores++
}

func digests(t *testing.T, dir string, known Digests, start time.Time) []layer.Entry {
	t.Helper()
	c := open(t, dir, known)
	c.start = start
	all := list(t, c)
	if err := c.Digest(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDigestsAreRememberedOnceTheyAreOld(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "b/c")
	l := &ledger{known: map[Stat][32]byte{}}
	first := digests(t, dir, l, time.Now())
	if l.stores != 0 {
		t.Fatalf("%d digests of young files were stored", l.stores)
	}
	later := time.Now().Add(time.Hour)
	digests(t, dir, l, later)
	if l.stores != 2 || l.hits != 0 {
		t.Fatalf("%d stores, %d hits", l.stores, l.hits)
	}
	again := digests(t, dir, l, later)
	if l.stores != 2 || l.hits != 2 {
		t.Fatalf("%d stores, %d hits", l.stores, l.hits)
	}
	for i := range first {
		if first[i].Digest != again[i].Digest {
			t.Errorf("%s: another digest", first[i].Path)
		}
	}
}

func TestAFileOfTheSameSizeAndMtimeIsNoticed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a")
	l := &ledger{known: map[Stat][32]byte{}}
	later := time.Now().Add(time.Hour)
	before := digests(t, dir, l, later)
	st, err := os.Stat(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("b"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "a"), st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if after := digests(t, dir, l, later); after[0].Digest == before[0].Digest {
		t.Error("the digest is that of the old file")
	}
}

func TestNothingIsReadThroughALinkThatWasPutInTheWay(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, dir, "d/f")
	write(t, outside, "f")
	c := open(t, dir, nil)
	all := list(t, c)
	if err := os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	err := c.Digest(t.Context(), all)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "d/f")) {
		t.Errorf("got %v", err)
	}
}

func TestAPipeInPlaceOfAFileIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "f")
	c := open(t, dir, nil)
	all := list(t, c)
	if err := os.Remove(filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "f"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Digest(t.Context(), all); !errors.Is(err, layer.ErrChanged) {
		t.Errorf("got %v", err)
	}
}

func TestCancellationEndsTheWalk(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "d/f")
	ctx, cancel := context.WithCancelCause(t.Context())
	c, err := OpenContext(ctx, dir, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	cancel(why)
	for c.Err() == nil {
		c.ReadDir("") // until the walk has heard of it
	}
	if !errors.Is(c.Err(), why) {
		t.Errorf("got %v", c.Err())
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestContextMustBeADirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "f", "d/", "l>d")
	for name, want := range map[string]error{"f": unix.ENOTDIR, "no": fs.ErrNotExist} {
		if _, err := OpenContext(t.Context(), filepath.Join(dir, name), nil, nil); !errors.Is(err, want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	open(t, filepath.Join(dir, "l"), nil)
}

func TestOpenArchive(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range []tar.Header{
		{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o640, Uid: 7, Gid: 8},
		{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "d/f"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	c, err := OpenArchive(t.Context(), t.TempDir(), &b)
	if err != nil {
		t.Fatal(err)
	}
	if got := paths(list(t, c)); got != "d/ d/f l" {
		t.Error(got)
	}
	if e, _ := c.Lookup("d/f"); os.Geteuid() == 0 && (e.UID != 7 || e.GID != 8) {
		t.Errorf("the owner is %d:%d", e.UID, e.GID)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenArchiveStaysInItsDirectory(t *testing.T) {
	for _, name := range []string{"../out", "/../out", "l/out"} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		parent := t.TempDir()
		dir := filepath.Join(parent, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, h := range []tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: name, Typeflag: tar.TypeReg}} {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if c, err := OpenArchive(t.Context(), dir, &b); err == nil {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Lstat(filepath.Join(parent, "out")); err == nil {
			t.Errorf("%s was written outside", name)
		}
	}
}

func BenchmarkUnchanged(b *testing.B) {
	dir := b.TempDir()
	for d := range 500 {
		sub := filepath.Join(dir, fmt.Sprintf("package%d", d%20), fmt.Sprintf("dir%d", d))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for f := range 100 {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file%d.txt", f)), []byte(sub), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	l := &ledger{known: map[Stat][32]byte{}}
	b.ReportAllocs()
	for b.Loop() {
		c, err := OpenContext(b.Context(), dir, []string{".git", "**/*.log", "**/node_modules", "!keep"}, l)
		if err != nil {
			b.Fatal(err)
		}
		c.Preload("")
		if err := errors.Join(c.Err(), c.Close()); err != nil {
			b.Fatal(err)
		}
	}
}
