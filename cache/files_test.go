package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// sealed puts a magic before a body and the checksum behind it.
func sealed(magic string, body []byte) []byte {
	data := append([]byte(magic), body...)
	sum := sha256.Sum256(data)
	return append(data, sum[:]...)
}

// newEntries makes n entries, with the inodes that a directory's files have.
func newEntries(n int) []entry {
	r := rand.New(rand.NewPCG(1, 1))
	entries := make([]entry, n)
	for i := range entries {
		entries[i] = entry{stat: FileStat{Dev: 0xfd00, Ino: uint64(1000 + 3*i), Size: r.Int64N(1e6), Mtime: r.Int64N(1e18), Ctime: r.Int64N(1e18)}}
		binary.BigEndian.PutUint64(entries[i].digest[:], uint64(i+1))
	}
	return entries
}

func newFiles(t testing.TB, c *Cache) *Files {
	t.Helper()
	f, err := c.Files("/home/user/project")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// remember stores entries and closes.
func remember(t *testing.T, c *Cache, entries []entry) {
	t.Helper()
	f := newFiles(t, c)
	for _, e := range entries {
		f.Store(e.stat, e.digest)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFilesAreRemembered(t *testing.T) {
	c := newCache(t)
	entries := newEntries(5000)
	remember(t, c, entries)
	f := newFiles(t, c)
	for i, e := range entries {
		if got, ok := f.Lookup(e.stat); !ok || got != e.digest {
			t.Fatalf("entry %d: %x, %v", i, got, ok)
		}
		for _, changed := range []func(*FileStat){
			func(s *FileStat) { s.Dev++ }, func(s *FileStat) { s.Ino++ }, func(s *FileStat) { s.Size++ },
			func(s *FileStat) { s.Mtime++ }, func(s *FileStat) { s.Ctime-- },
		} {
			other := e.stat
			changed(&other)
			if _, ok := f.Lookup(other); ok {
				t.Fatalf("entry %d: found by %+v", i, other)
			}
		}
	}
	other, err := c.Files("/home/user/other")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := other.Lookup(entries[0].stat); ok {
		t.Error("found in another directory's")
	}
}

func TestChangedFileIsForgotten(t *testing.T) {
	c := newCache(t)
	entries := newEntries(10)
	remember(t, c, entries)
	newer := entries[3]
	newer.stat.Mtime++
	newer.digest[31] = 1
	remember(t, c, []entry{newer})
	f := newFiles(t, c)
	if _, ok := f.Lookup(entries[3].stat); ok {
		t.Error("the old state is still remembered")
	}
	if got, ok := f.Lookup(newer.stat); !ok || got != newer.digest {
		t.Error("the new state is not remembered")
	}
	if _, ok := f.Lookup(entries[4].stat); !ok {
		t.Error("another file is forgotten")
	}
}

func TestFilesThatAreGoneAreDropped(t *testing.T) {
	c := newCache(t)
	entries := newEntries(10000)
	remember(t, c, entries)
	f := newFiles(t, c)
	if _, ok := f.Lookup(entries[0].stat); !ok {
		t.Fatal("not remembered")
	}
	f.Store(FileStat{Ino: 5}, [32]byte{1})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := len(newFiles(t, c).used); got != 2 {
		t.Errorf("%d entries, want the one looked up and the new one", got)
	}
}

func TestYoungFilesDoNotOutliveTheMachine(t *testing.T) {
	now := time.Now()
	entries := newEntries(2)
	entries[0].stat.Ctime = now.Add(-time.Minute).UnixNano()
	data := encodeFiles(entries, "first", now)
	for boot, want := range map[string]int{"first": 2, "second": 1} {
		if got, ok := decodeFiles(data, boot); !ok || len(got) != want*entrySize {
			t.Errorf("boot %s: %d bytes, %v; want %d entries", boot, len(got), ok, want)
		}
	}
}

func TestDamagedFilesAreNotRemembered(t *testing.T) {
	c := newCache(t)
	entries := newEntries(10)
	remember(t, c, entries)
	if err := os.Truncate(newFiles(t, c).path, 300); err != nil {
		t.Fatal(err)
	}
	if _, ok := newFiles(t, c).Lookup(entries[0].stat); ok {
		t.Error("remembered from a torn file")
	}
	remember(t, c, entries)
	if _, ok := newFiles(t, c).Lookup(entries[0].stat); !ok {
		t.Error("not remembered again")
	}
}

func TestFilesAreUsedByManyGoroutines(t *testing.T) {
	c := newCache(t)
	entries := newEntries(1000)
	remember(t, c, entries[:500])
	f := newFiles(t, c)
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			for _, e := range entries {
				if got, ok := f.Lookup(e.stat); ok && got != e.digest {
					t.Errorf("inode %d: %x", e.stat.Ino, got)
				}
				f.Store(e.stat, e.digest)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// FuzzFiles gives the decoder bytes that have the right checksum, and looks
// things up in what it makes of them.
func FuzzFiles(f *testing.F) {
	data := encodeFiles(newEntries(3), "boot", time.Unix(0, 0))
	f.Add(data[len(filesMagic) : len(data)-32])
	f.Fuzz(func(t *testing.T, body []byte) {
		entries, ok := decodeFiles(sealed(filesMagic, body), "boot")
		if !ok {
			return
		}
		var files Files
		files.load(entries)
		for e := range bytes.Lines(body) {
			var s FileStat
			for _, b := range e {
				s.Ino = s.Ino<<8 | uint64(b)
			}
			files.Lookup(s)
		}
		if got := files.merge(); len(got) != len(entries)/entrySize {
			t.Errorf("%d entries of %d bytes", len(got), len(entries))
		}
	})
}

func BenchmarkFiles(b *testing.B) {
	c, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	entries := newEntries(50000)
	f := newFiles(b, c)
	for _, e := range entries {
		f.Store(e.stat, e.digest)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			f = newFiles(b, c)
		}
	})
	b.Run("lookup", func(b *testing.B) {
		for b.Loop() {
			for i := range entries {
				if _, ok := f.Lookup(entries[i].stat); !ok {
					b.Fatal("not found")
				}
			}
		}
	})
}
