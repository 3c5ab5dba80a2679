package layer

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// WriteTar writes the layer as a tar in normal form. stamps[0] is the time, in
// seconds since 1970, that every entry gets, stamps[k] that of the layer k places
// below, as far as [Entry.Pyc] needs them; without stamps every entry keeps its own
// time. Files are verified as they are copied:
// one that is not as ix says fails with [ErrChanged].
//
// The tar is written in blocks of one size, whatever the files' sizes and
// however they are read.
func WriteTar(ctx context.Context, w io.Writer, ix *Index, src Source, stamps []int64) error {
	t := &tarWriter{w: w, buf: make([]byte, tarBuffer)}
	files := newReadAhead(ctx, ix, src, func(e *Entry) (*int64, error) { return ix.stamp(e, stamps) })
	defer files.close()
	for i := range ix.Entries {
		e := &ix.Entries[i]
		if i%64 == 0 && ctx.Err() != nil {
			return fmt.Errorf("write layer: %w", context.Cause(ctx))
		}
		if t.stamp = e.Mtime / 1e9; len(stamps) > 0 {
			t.stamp = stamps[0]
		}
		if err := t.header(e); err != nil {
			return fmt.Errorf("write layer: %s: %w", e.Path, err)
		}
		if !hasBytes(e) {
			continue
		}
		if err := files.copy(t, e); err != nil {
			return fmt.Errorf("write layer: %w", err)
		}
		if err := t.pad(); err != nil {
			return fmt.Errorf("write layer: %w", err)
		}
	}
	if err := files.finish(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	if err := t.close(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

// stamp returns what the header of a compiled Python file gets in a tar with
// the stamps given; nil for any other file.
func (x *Index) stamp(e *Entry, stamps []int64) (at *int64, err error) {
	switch {
	case e.Pyc == 0:
	case len(stamps) == 0:
		own := x.pycTime(e)
		at = &own
	case int(e.Pyc) > len(stamps):
		err = fmt.Errorf("%s: no stamp of the layer %d places below", e.Path, e.Pyc-1)
	default:
		at = &stamps[e.Pyc-1]
	}
	return at, err
}

// emptyDigest is the SHA-256 of no bytes.
var emptyDigest = [32]byte{
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
}

const (
	tarBlock  = 512
	tarBuffer = 128 << 10
)

// The fields of a ustar header: POSIX.1-2017, pax, "ustar Interchange Format".
const (
	nameAt, nameLen     = 0, 100
	modeAt, modeLen     = 100, 8
	uidAt, gidAt, idLen = 108, 116, 8
	sizeAt, sizeLen     = 124, 12
	mtimeAt, mtimeLen   = 136, 12
	sumAt, sumLen       = 148, 8
	typeAt              = 156
	linkAt, linkLen     = 157, 100
	magicAt             = 257
	majorAt, minorAt    = 329, 337
	prefixAt, prefixLen = 345, 155
)

const (
	tarFile    = '0'
	tarLink    = '1'
	tarSymlink = '2'
	tarChar    = '3'
	tarBlk     = '4'
	tarDir     = '5'
	tarFifo    = '6'
	tarPax     = 'x'
)

// paxName is the name of the headers that hold PAX records. It is the one that
// Python's tarfile uses, and of no importance.
const paxName = "././@PaxHeader"

// tarWriter writes headers and contents to w, a buffer at a time.
type tarWriter struct {
	w       io.Writer
	buf     []byte
	n       int
	written int64
	stamp   int64
	block   [tarBlock]byte
	records []string
	pax     []byte
}

// space implements window.
func (t *tarWriter) space() ([]byte, error) {
	if t.n == len(t.buf) {
		if err := t.flush(); err != nil {
			return nil, err
		}
	}
	return t.buf[t.n:], nil
}

// advance implements window.
func (t *tarWriter) advance(n int) error {
	t.n += n
	t.written += int64(n)
	return nil
}

func (t *tarWriter) flush() error {
	_, err := t.w.Write(t.buf[:t.n])
	t.n = 0
	return err
}

var zeros [2 * tarBlock]byte

func (t *tarWriter) pad() error {
	if over := t.written % tarBlock; over > 0 {
		return put(t, zeros[:tarBlock-over])
	}
	return nil
}

func (t *tarWriter) close() error {
	if err := put(t, zeros[:]); err != nil {
		return err
	}
	if t.n == 0 {
		return nil
	}
	return t.flush()
}

// header writes all that stands before an entry's content: the headers of the
// entry itself and of the mark that goes with it.
func (t *tarWriter) header(e *Entry) error {
	if e.Path != "" {
		h := header{entry: e, name: e.Path, size: 0}
		switch e.Type {
		case Dir:
			h.kind, h.name = tarDir, e.Path+"/"
		case File:
			h.kind, h.size = tarFile, e.Size
		case Symlink:
			h.kind, h.link = tarSymlink, e.Link
		case Hardlink:
			h.kind, h.link = tarLink, e.Link
		case Char:
			h.kind = tarChar
		case Block:
			h.kind = tarBlk
		case Fifo:
			h.kind = tarFifo
		case Whiteout:
			dir, name := split(e.Path)
			h.kind, h.name, h.entry = tarFile, join(dir, whiteoutPrefix+name), &Entry{}
		default:
			return fmt.Errorf("unknown type %d", e.Type)
		}
		if err := t.put(h); err != nil {
			return err
		}
	}
	if e.Opaque {
		return t.put(header{entry: &Entry{}, kind: tarFile, name: join(e.Path, opaqueName)})
	}
	return nil
}

// header is what a tar says of one entry.
type header struct {
	entry *Entry
	kind  byte
	name  string
	link  string
	size  int64
}

func (t *tarWriter) put(h header) error {
	e := h.entry
	t.block = [tarBlock]byte{}
	t.records = t.records[:0]
	t.name(h.name)
	if len(h.link) > linkLen || !isASCII(h.link) {
		t.record("linkpath", h.link)
	} else {
		copy(t.block[linkAt:linkAt+linkLen], h.link)
	}
	t.octal(modeAt, modeLen, int64(e.Mode))
	t.number("uid", uidAt, idLen, int64(e.UID))
	t.number("gid", gidAt, idLen, int64(e.GID))
	t.number("size", sizeAt, sizeLen, h.size)
	t.number("mtime", mtimeAt, mtimeLen, t.stamp)
	if h.kind == tarChar || h.kind == tarBlk {
		t.octal(majorAt, idLen, int64(e.Major))
		t.octal(minorAt, idLen, int64(e.Minor))
	}
	if h.kind != tarLink {
		for i := range e.Xattrs {
			t.record("SCHILY.xattr."+e.Xattrs[i].Name, e.Xattrs[i].Value)
		}
	}
	if len(t.records) > 0 {
		main := t.block
		if err := t.paxHeader(); err != nil {
			return err
		}
		t.block = main
	}
	t.finish(h.kind)
	return put(t, t.block[:])
}

// name puts a path where it fits: into the name field, split between that and
// the prefix field, or into a PAX record.
func (t *tarWriter) name(name string) {
	if isASCII(name) {
		if len(name) <= nameLen {
			copy(t.block[nameAt:nameAt+nameLen], name)
			return
		}
		if prefix, rest, ok := splitName(name); ok {
			copy(t.block[prefixAt:prefixAt+prefixLen], prefix)
			copy(t.block[nameAt:nameAt+nameLen], rest)
			return
		}
	}
	t.record("path", name)
	// For a reader that knows no PAX: something of the same kind.
	if strings.HasSuffix(name, "/") {
		copy(t.block[nameAt:], "long/")
	} else {
		copy(t.block[nameAt:], "long")
	}
}

// splitName splits a name of more than 100 bytes at the last slash that leaves
// a prefix of at most 155 bytes.
func splitName(name string) (prefix, rest string, ok bool) {
	end := min(len(name)-1, prefixLen+1)
	i := strings.LastIndexByte(name[:end], '/')
	if i <= 0 || len(name)-i-1 > nameLen || len(name)-i-1 == 0 {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// record adds a PAX record: its length in decimal, itself included, a space,
// key=value and a line feed.
func (t *tarWriter) record(key, value string) {
	n := len(key) + len(value) + 3
	digits := len(strconv.Itoa(n))
	if len(strconv.Itoa(n+digits)) > digits {
		digits++
	}
	t.records = append(t.records, key+"\x00"+strconv.Itoa(n+digits)+" "+key+"="+value+"\n")
}

func (t *tarWriter) paxHeader() error {
	slices.Sort(t.records)
	t.pax = t.pax[:0]
	for _, r := range t.records {
		t.pax = append(t.pax, r[strings.IndexByte(r, 0)+1:]...)
	}
	t.block = [tarBlock]byte{}
	copy(t.block[nameAt:], paxName)
	t.octal(modeAt, modeLen, 0o644)
	t.octal(uidAt, idLen, 0)
	t.octal(gidAt, idLen, 0)
	t.octal(sizeAt, sizeLen, int64(len(t.pax)))
	t.octal(mtimeAt, mtimeLen, 0)
	t.finish(tarPax)
	if err := put(t, t.block[:]); err != nil {
		return err
	}
	if err := put(t, t.pax); err != nil {
		return err
	}
	return t.pad()
}

// number writes v where it fits, and into a PAX record and a zero where not.
func (t *tarWriter) number(key string, at, length int, v int64) {
	if v < 0 || v>>(3*(length-1)) != 0 {
		t.record(key, strconv.FormatInt(v, 10))
		v = 0
	}
	t.octal(at, length, v)
}

// octal writes v as length-1 octal digits and a NUL.
func (t *tarWriter) octal(at, length int, v int64) {
	for i := at + length - 2; i >= at; i-- {
		t.block[i] = byte('0' + v&7)
		v >>= 3
	}
}

// finish writes the type, the magic and the checksum.
func (t *tarWriter) finish(kind byte) {
	t.block[typeAt] = kind
	copy(t.block[magicAt:], "ustar\x0000")
	if kind != tarChar && kind != tarBlk {
		t.octal(majorAt, idLen, 0)
		t.octal(minorAt, idLen, 0)
	}
	copy(t.block[sumAt:], "        ")
	t.octal(sumAt, sumLen-1, checksum(&t.block))
	t.block[sumAt+sumLen-2] = 0
}

// checksum adds up the bytes of a header, eight lanes at a time.
func checksum(block *[tarBlock]byte) int64 {
	const lanes = 0x00ff00ff00ff00ff
	var even, odd uint64
	for i := 0; i < tarBlock; i += 8 {
		v := binary.LittleEndian.Uint64(block[i:])
		even += v & lanes
		odd += v >> 8 & lanes
	}
	sum := even + odd
	return int64(sum&0xffff + sum>>16&0xffff + sum>>32&0xffff + sum>>48)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
