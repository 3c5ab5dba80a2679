package layer

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The form of an index in a file: the magic, whose last byte is the version; the
// number of entries; the entries; the SHA-256 of all that. Numbers are varints. An
// entry is its type and flags in one byte; its path, as the length of what it
// shares with the path before it and the rest; and what its type needs. Mtimes
// are differences to the one before. A hard link to a file of the same layer is
// the number of that entry and nothing else.
const indexMagic = "layer index\x00\x01"

const (
	typeMask   = 0x0f
	flagOpaque = 0x10
	flagParent = 0x20
	flagXattrs = 0x40
	flagPyc    = 0x80
)

var errCorrupt = errors.New("index is damaged")

// Encode writes the index in the form that [Decode] reads.
func (x *Index) Encode(w io.Writer) error {
	h := sha256.New()
	out := io.MultiWriter(w, h)
	buf := append(make([]byte, 0, 64<<10), indexMagic...)
	buf = binary.AppendUvarint(buf, uint64(len(x.Entries)))
	var last Entry
	for i := range x.Entries {
		e := &x.Entries[i]
		buf = x.appendEntry(buf, e, &last)
		last.Path, last.Mtime = e.Path, e.Mtime
		if len(buf) > 48<<10 {
			if _, err := out.Write(buf); err != nil {
				return fmt.Errorf("write index: %w", err)
			}
			buf = buf[:0]
		}
	}
	if _, err := out.Write(buf); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if _, err := w.Write(h.Sum(nil)); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

func (x *Index) appendEntry(b []byte, e, last *Entry) []byte {
	b = append(b, byte(e.Type)|flag(e.Opaque, flagOpaque)|flag(e.Parent, flagParent)|
		flag(len(e.Xattrs) > 0, flagXattrs)|flag(e.Pyc > 0, flagPyc))
	shared := 0
	for shared < len(e.Path) && shared < len(last.Path) && e.Path[shared] == last.Path[shared] {
		shared++
	}
	b = binary.AppendUvarint(b, uint64(shared))
	b = appendString(b, e.Path[shared:])
	b = binary.AppendVarint(b, e.Mtime-last.Mtime)
	switch e.Type {
	case Whiteout:
		return b
	case Hardlink:
		if file, ok := x.search(e.Link, false); ok {
			return binary.AppendUvarint(b, uint64(file)+1)
		}
		b = append(b, 0)
		b = appendString(b, e.Link)
	}
	b = binary.AppendUvarint(b, uint64(e.Mode))
	b = binary.AppendUvarint(b, uint64(e.UID))
	b = binary.AppendUvarint(b, uint64(e.GID))
	switch e.Type {
	case File:
		b = binary.AppendUvarint(b, uint64(e.Size))
		b = append(b, e.Digest[:]...)
	case Symlink:
		b = appendString(b, e.Link)
	case Char, Block:
		b = binary.AppendUvarint(b, uint64(e.Major))
		b = binary.AppendUvarint(b, uint64(e.Minor))
	}
	if e.Pyc > 0 {
		b = append(b, e.Pyc)
	}
	if len(e.Xattrs) > 0 {
		b = appendXattrs(b, e.Xattrs)
	}
	return b
}

// Decode reads what [Index.Encode] wrote. Whatever data is, it neither panics
// nor returns an index that is not in normal form.
func Decode(data []byte) (*Index, error) {
	if len(data) < len(indexMagic)+sha256.Size || string(data[:len(indexMagic)]) != indexMagic {
		return nil, fmt.Errorf("not an index of version %d: %w", indexMagic[len(indexMagic)-1], errCorrupt)
	}
	body := data[:len(data)-sha256.Size]
	if sha256.Sum256(body) != [sha256.Size]byte(data[len(body):]) {
		return nil, fmt.Errorf("checksum: %w", errCorrupt)
	}
	d := decoder{rest: body[len(indexMagic):]}
	x := d.index()
	if d.failed || len(d.rest) > 0 {
		return nil, errCorrupt
	}
	if err := x.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return x, nil
}

// decoder takes an index apart. After the first fault it returns zeros.
type decoder struct {
	rest   []byte
	failed bool
	paths  []byte // of the entries since the last flush, one after the other
	starts []int  // where each of them begins
}

// pathBatch is how many entries share one string that holds their paths.
const pathBatch = 1024

func (d *decoder) index() *Index {
	n := d.uvarint()
	if n > uint64(len(d.rest))/4+1 { // an entry has at least four bytes
		d.failed = true
		return nil
	}
	x := &Index{Entries: make([]Entry, n)}
	var mtime int64
	for i := range x.Entries {
		if d.failed {
			break
		}
		e := &x.Entries[i]
		d.entry(e, mtime)
		mtime = e.Mtime
		if len(d.starts) == pathBatch {
			d.flush(x.Entries[:i+1])
		}
	}
	d.flush(x.Entries)
	d.resolve(x)
	return x
}

// flush gives the last entries their paths.
func (d *decoder) flush(entries []Entry) {
	all := string(d.paths)
	if len(d.starts) == 0 || len(entries) < len(d.starts) {
		return
	}
	entries = entries[len(entries)-len(d.starts):]
	for i, start := range d.starts {
		end := len(all)
		if i+1 < len(d.starts) {
			end = d.starts[i+1]
		}
		entries[i].Path = all[start:end]
	}
	// The next path may share a part with the last one.
	last := d.paths[d.starts[len(d.starts)-1]:]
	d.paths = append(d.paths[:0], last...)
	d.starts = d.starts[:0]
}

func (d *decoder) entry(e *Entry, mtime int64) {
	head := d.byte()
	e.Type, e.Opaque, e.Parent = Type(head&typeMask), head&flagOpaque != 0, head&flagParent != 0
	d.path()
	e.Mtime = mtime + d.varint()
	switch e.Type {
	case Whiteout:
		return
	case Hardlink:
		// Size holds the number of the file until all entries are there.
		if e.Size = int64(d.uvarint()); e.Size != 0 {
			return
		}
		e.Link = d.string()
	}
	e.Mode = d.uint32() & 0o7777
	e.UID, e.GID = int(d.uint32()), int(d.uint32())
	switch e.Type {
	case File:
		e.Size = int64(d.uvarint())
		copy(e.Digest[:], d.bytes(sha256.Size))
		d.failed = d.failed || e.Size < 0
	case Symlink:
		e.Link = d.string()
	case Char, Block:
		e.Major, e.Minor = d.uint32(), d.uint32()
	}
	if head&flagPyc != 0 {
		e.Pyc = d.byte()
	}
	if head&flagXattrs != 0 {
		e.Xattrs = d.xattrs()
	}
}

// path reads the path of the next entry onto d.paths.
func (d *decoder) path() {
	shared, rest := d.uvarint(), d.bytes(d.uvarint())
	last := len(d.paths)
	previous := d.paths
	if n := len(d.starts); n > 0 {
		previous = d.paths[d.starts[n-1]:]
	}
	if shared > uint64(len(previous)) || int(shared)+len(rest) > maxPath {
		d.failed = true
		return
	}
	if len(d.starts) == 0 {
		// What is there is the last path of the batch before.
		d.paths = append(d.paths[:shared], rest...)
		d.starts = append(d.starts, 0)
		return
	}
	d.paths = append(d.paths, previous[:shared]...)
	d.paths = append(d.paths, rest...)
	d.starts = append(d.starts, last)
}

// resolve fills in the hard links.
func (d *decoder) resolve(x *Index) {
	for i := range x.Entries {
		e := &x.Entries[i]
		if d.failed || e.Type != Hardlink || e.Size == 0 {
			continue
		}
		file := e.Size - 1
		if file >= int64(i) || file < 0 || x.Entries[file].Type == Hardlink || x.Entries[file].Type == Dir {
			d.failed = true
			return
		}
		mtime := e.Mtime
		*e = linkTo(e.Path, &x.Entries[file])
		e.Mtime = mtime
	}
}

func (d *decoder) xattrs() []Xattr {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.failed = true
		return nil
	}
	list := make([]Xattr, 0, min(n, 16))
	for range n {
		list = append(list, Xattr{Name: d.string(), Value: d.string()})
		if d.failed {
			return nil
		}
	}
	if !slices.IsSortedFunc(list, compareXattrs) {
		d.failed = true
	}
	return list
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	d.failed = d.failed || v > 1<<32-1
	return uint32(v)
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.failed = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.failed, d.rest = true, nil
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) string() string { return string(d.bytes(d.uvarint())) }
