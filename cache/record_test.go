package cache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"builder/image"
)

// newCache opens a cache in a directory of its own.
func newCache(t *testing.T) *Cache {
	t.Helper()
	c, err := Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newRecord makes a record with n in it.
func newRecord(n byte) Record {
	return Record{
		Parts: Parts{{"op", "exec"}, {"arg", "x\x00y"}, {"arg", strings.Repeat("z", 300)}},
		Layer: image.ContentDigest{n}, Made: time.Unix(0, 1234567890123456789), Took: time.Second,
	}
}

var stamp = Stamp{Boot: "boot", FileSystem: "fs", At: 7}

func TestPutAndGet(t *testing.T) {
	c := newCache(t)
	want := newRecord(1)
	key := want.Parts.Key()
	if _, ok, err := c.Get(key); ok || err != nil {
		t.Fatalf("before: %v, %v", ok, err)
	}
	want.Trusted = true
	if got, err := c.Put(key, newRecord(1)); err != nil || !cmp.Equal(got, want) {
		t.Errorf("Put: %v %s", err, cmp.Diff(want, got))
	}
	got, ok, err := c.Get(key)
	if !ok || err != nil || !cmp.Equal(got, want) {
		t.Errorf("Get: %v, %v %s", ok, err, cmp.Diff(want, got))
	}
	if got, err := c.Put(key, newRecord(2)); err != nil || got.Layer != want.Layer {
		t.Errorf("the second Put: %v, %v; want the first record", got.Layer, err)
	}
	if err := c.Replace(key, newRecord(3)); err != nil {
		t.Fatal(err)
	}
	if got, _, err := c.Get(key); err != nil || got.Layer != (image.ContentDigest{3}) {
		t.Errorf("after Replace: %v, %v", got.Layer, err)
	}
	for range 2 {
		if err := c.Forget(key); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := c.Get(key); ok || err != nil {
		t.Errorf("after Forget: %v, %v", ok, err)
	}
}

func TestDamagedRecordIsAMissAndReplaced(t *testing.T) {
	c := newCache(t)
	rec := newRecord(1)
	key := rec.Parts.Key()
	for name, damage := range map[string]func(path string) error{
		"torn":    func(path string) error { return os.Truncate(path, 40) },
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"zeros":   func(path string) error { return os.WriteFile(path, make([]byte, 500), 0o644) },
		"another": func(path string) error { return os.WriteFile(path, Record{}.encode(stamp), 0o644) },
	} {
		if _, err := c.Put(key, rec); err != nil {
			t.Fatal(err)
		}
		if err := damage(c.recordPath(key)); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Put(key, newRecord(2)); err != nil || got.Layer != (image.ContentDigest{2}) {
			t.Errorf("%s: Put gives %v, %v", name, got.Layer, err)
		}
		if err := damage(c.recordPath(key)); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := c.Get(key); ok || err != nil {
			t.Errorf("%s: Get gives %v, %v", name, ok, err)
		}
		if _, err := os.Lstat(c.recordPath(key)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the file is still there: %v", name, err)
		}
	}
}

// TestRecordFile holds the format: a change to it is a new version.
func TestRecordFile(t *testing.T) {
	data := Record{Parts: Parts{{"n", "v"}}, Layer: image.ContentDigest{1}, Made: time.Unix(0, 2), Took: 3}.encode(Stamp{"b", "f", 4})
	const number = "\x00\x00\x00\x00\x00\x00\x00"
	want := "builder record 1\n\x01" + strings.Repeat("\x00", 31) + number + "\x02" + number + "\x03" +
		number + "\x01b" + number + "\x01f" + number + "\x04" + number + "\x01" + number + "\x01n" + number + "\x01v"
	if got := string(data[:len(data)-32]); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestNoFlippedBitIsAccepted(t *testing.T) {
	for name, f := range map[string]struct {
		data   []byte
		decode func([]byte) bool
	}{
		"record": {newRecord(1).encode(stamp), func(b []byte) bool { _, _, err := decodeRecord(b); return err == nil }},
		"files":  {encodeFiles(newEntries(3), "boot", time.Now()), func(b []byte) bool { _, ok := decodeFiles(b, "boot"); return ok }},
		"marks":  {encodeMarks(map[run]mark{{"b", "f"}: {1, 2}}), func(b []byte) bool { _, ok := decodeMarks(b); return ok }},
	} {
		if !f.decode(f.data) {
			t.Fatalf("%s: the whole is not accepted", name)
		}
		for i := range f.data {
			for bit := range 8 {
				damaged := bytes.Clone(f.data)
				damaged[i] ^= 1 << bit
				if f.decode(damaged) {
					t.Fatalf("%s: bit %d of byte %d flipped, and it is accepted", name, bit, i)
				}
			}
			if f.decode(f.data[:i]) {
				t.Fatalf("%s: cut at %d, and it is accepted", name, i)
			}
		}
	}
}

// FuzzRecord gives the decoder bytes that have the right checksum, so that it
// has to look at them.
func FuzzRecord(f *testing.F) {
	data := newRecord(1).encode(stamp)
	f.Add(data[len(recordMagic) : len(data)-32])
	f.Fuzz(func(t *testing.T, body []byte) {
		r, s, err := decodeRecord(sealed(recordMagic, body))
		if err == nil && !bytes.Equal(r.encode(s), sealed(recordMagic, body)) {
			t.Errorf("accepted, but written differently: %+v", r)
		}
	})
}

func TestTrust(t *testing.T) {
	c := newCache(t)
	rec := newRecord(1)
	key := rec.Parts.Key()
	// as opens the directory as another run of the machine does.
	as := func(boot string) *Cache {
		other, err := Open(c.dir)
		if err != nil {
			t.Fatal(err)
		}
		other.run = func() (run, error) { return run{boot, "fs"}, nil }
		return other
	}
	trusted := func(c *Cache) bool {
		t.Helper()
		got, ok, err := c.Get(key)
		if !ok || err != nil {
			t.Fatalf("Get: %v, %v", ok, err)
		}
		return got.Trusted
	}
	first := as("first")
	if _, err := first.Put(key, rec); err != nil {
		t.Fatal(err)
	}
	if !trusted(first) || trusted(as("second")) {
		t.Error("a record is trusted in its own run, and not in another before it is synced")
	}
	// The second run verifies, and says so.
	second := as("second")
	if err := second.Replace(key, rec); err != nil {
		t.Fatal(err)
	}
	if !trusted(second) || trusted(as("third")) {
		t.Error("a verified record is trusted in the run that verified it")
	}
	if err := second.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !trusted(as("third")) {
		t.Error("a synced record is trusted in every run")
	}
	if err := second.Replace(key, rec); err != nil {
		t.Fatal(err)
	}
	if trusted(as("third")) {
		t.Error("a record above the watermark is not trusted")
	}
}

func TestOldWatermarksGo(t *testing.T) {
	marks := map[run]mark{}
	for i := range maxMarks + 50 {
		marks[run{fmt.Sprint("boot", i), "f"}] = mark{1, int64(i)}
	}
	got, ok := decodeMarks(encodeMarks(marks))
	if _, oldest := got[run{"boot49", "f"}]; !ok || len(got) != maxMarks || oldest {
		t.Errorf("%d marks, %v; the oldest is there: %v", len(got), ok, oldest)
	}
}
