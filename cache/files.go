package cache

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// FileStat is the state of a regular file. Two equal ones, seen at different times,
// are taken for one content if they were not young when they were seen.
type FileStat struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64 // nanoseconds since 1970
}

// Files remembers the digests of the files below one directory of the user's. It
// may be used by many goroutines. Whether a file's state is old enough to be
// remembered is the caller's affair.
type Files struct {
	c    *Cache
	path string

	old   []byte   // sorted entries, as the file holds them
	index []uint32 // old's entries with the hash bits i are from index[i] to index[i+1]
	shift uint
	used  []atomic.Bool // which of old were looked up

	mu     sync.RWMutex
	recent map[inode]entry
	any    atomic.Bool // whether recent holds anything
}

type inode struct{ dev, ino uint64 }

type entry struct {
	stat   FileStat
	digest [sha256.Size]byte
}

const (
	filesMagic = "builder files 1\n"
	// entrySize is the size of an entry in the file: hash, five numbers, digest.
	entrySize = 8 + 5*8 + sha256.Size
	// maxFiles bounds what is read: about 20 million files.
	maxFiles = 2 << 30
	// unsettled is how young a file may be, when the machine goes down, for its data
	// not to be on the disk although its state is.
	unsettled = 5 * time.Minute
)

// hash spreads inodes, so that a table of entries sorted by it needs no search.
func (i inode) hash() uint64 {
	hi, lo := bits.Mul64(i.ino^0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9^i.dev<<1)
	return hi ^ lo
}

// Files returns what is remembered of the files below the directory root, an
// absolute path. What cannot be read is not remembered. Close keeps what is new.
func (c *Cache) Files(root string) (*Files, error) {
	name := sha256.Sum256([]byte(root))
	f := &Files{c: c, path: filepath.Join(c.dir, "files", fmt.Sprintf("%x", name)), recent: map[inode]entry{}}
	data, _, err := readFile(f.path, maxFiles)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("files of %s: %w", root, err)
	}
	r, err := c.run()
	if err != nil {
		return nil, fmt.Errorf("files of %s: %w", root, err)
	}
	entries, _ := decodeFiles(data, r.Boot)
	f.load(entries)
	return f, nil
}

// decodeFiles returns the entries of a file, sorted by hash. Those that were
// young when another run of the machine wrote them are left out.
func decodeFiles(data []byte, boot string) (entries []byte, ok bool) {
	body, ok := checked(data, filesMagic)
	if !ok {
		return nil, false
	}
	d := decoder{rest: body}
	by, saved := d.text(), int64(d.number())
	if d.short || len(d.rest)%entrySize != 0 {
		return nil, false
	}
	if by == boot {
		return d.rest, true
	}
	limit := saved - unsettled.Nanoseconds()
	kept := make([]byte, 0, len(d.rest))
	for e := range slices.Chunk(d.rest, entrySize) {
		if _, got := decodeEntry(e); got.stat.Mtime < limit && got.stat.Ctime < limit {
			kept = append(kept, e...)
		}
	}
	return kept, true
}

// load makes the index of sorted entries.
func (f *Files) load(entries []byte) {
	n := len(entries) / entrySize
	width := bits.Len(uint(n))
	f.old, f.shift = entries, uint(64-width)
	f.used = make([]atomic.Bool, n)
	f.index = make([]uint32, 1<<width+1)
	at := 0
	for slot := range 1 << width {
		f.index[slot] = uint32(at)
		for at < n && f.slot(f.hashOf(at)) == slot {
			at++
		}
	}
	f.index[1<<width] = uint32(at)
}

func (f *Files) slot(hash uint64) int { return int(hash >> f.shift) }

func (f *Files) hashOf(i int) uint64 { return binary.BigEndian.Uint64(f.old[i*entrySize:]) }

func (f *Files) entry(i int) []byte { return f.old[i*entrySize : (i+1)*entrySize] }

// Lookup returns the digest of a file in the given state.
func (f *Files) Lookup(s FileStat) (digest [sha256.Size]byte, ok bool) {
	key := inode{s.Dev, s.Ino}
	if f.any.Load() {
		f.mu.RLock()
		e, ok := f.recent[key]
		f.mu.RUnlock()
		if ok {
			return e.digest, e.stat == s
		}
	}
	hash := key.hash()
	slot := f.slot(hash)
	for i := int(f.index[slot]); i < int(f.index[slot+1]); i++ {
		if f.hashOf(i) != hash {
			continue
		}
		if _, e := decodeEntry(f.entry(i)); e.stat == s {
			f.used[i].Store(true)
			return e.digest, true
		}
	}
	return digest, false
}

// Store remembers the digest of a file in the given state, and forgets what was
// remembered of it.
func (f *Files) Store(s FileStat, digest [sha256.Size]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recent[inode{s.Dev, s.Ino}] = entry{s, digest}
	f.any.Store(true)
}

// Close writes what is remembered, if anything is new. What another process
// wrote meanwhile is replaced.
func (f *Files) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.recent) == 0 {
		return nil
	}
	if err := f.write(); err != nil {
		return fmt.Errorf("remember files: %w", err)
	}
	clear(f.recent)
	f.any.Store(false)
	return nil
}

func (f *Files) write() error {
	r, err := f.c.run()
	if err != nil {
		return err
	}
	temp, err := f.c.writeTemp(encodeFiles(f.merge(), r.Boot, time.Now()))
	if err != nil {
		return err
	}
	if err := os.Rename(temp, f.path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// merge returns the recent entries and the old ones that they do not replace.
// Where most of the old ones were not looked up they are of files that are gone,
// for all that is known, and are dropped.
func (f *Files) merge() []entry {
	used := 0
	for i := range f.used {
		if f.used[i].Load() {
			used++
		}
	}
	const spare = 1024
	keepAll := len(f.used) <= 4*(used+len(f.recent))+spare
	entries := make([]entry, 0, len(f.used)+len(f.recent))
	for i := range f.used {
		key, e := decodeEntry(f.entry(i))
		if _, replaced := f.recent[key]; !replaced && (keepAll || f.used[i].Load()) {
			entries = append(entries, e)
		}
	}
	for _, e := range f.recent {
		entries = append(entries, e)
	}
	return entries
}

func encodeFiles(entries []entry, boot string, now time.Time) []byte {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.key().hash(), b.key().hash()), cmp.Compare(a.stat.Dev, b.stat.Dev), cmp.Compare(a.stat.Ino, b.stat.Ino))
	})
	buf := make([]byte, 0, 128+len(entries)*entrySize)
	buf = append(buf, filesMagic...)
	buf = appendString(buf, boot)
	buf = binary.BigEndian.AppendUint64(buf, uint64(now.UnixNano()))
	for _, e := range entries {
		buf = binary.BigEndian.AppendUint64(buf, e.key().hash())
		for _, n := range []uint64{e.stat.Dev, e.stat.Ino, uint64(e.stat.Size), uint64(e.stat.Mtime), uint64(e.stat.Ctime)} {
			buf = binary.BigEndian.AppendUint64(buf, n)
		}
		buf = append(buf, e.digest[:]...)
	}
	sum := sha256.Sum256(buf)
	return append(buf, sum[:]...)
}

func (e entry) key() inode { return inode{e.stat.Dev, e.stat.Ino} }

// decodeEntry reads one entry behind its hash.
func decodeEntry(b []byte) (inode, entry) {
	number := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	e := entry{stat: FileStat{Dev: number(1), Ino: number(2), Size: int64(number(3)), Mtime: int64(number(4)), Ctime: int64(number(5))}}
	copy(e.digest[:], b[6*8:])
	return e.key(), e
}
