package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"builder/image"
	"builder/internal/sys"
)

// Record is what a computation gave.
type Record struct {
	Parts Parts
	Layer image.ContentDigest
	Made  time.Time
	Took  time.Duration
	// Trusted is set by [Cache.Get]: whether all that was written before the record
	// is known to be on the disk, or was written in this run of the machine. The
	// layer of one that is not is verified before it is used; [Cache.Replace] with the
	// same record then makes it trusted.
	Trusted bool
}

// recordMagic begins a record file; docs/format.md describes the rest.
const recordMagic = "builder record 1\n"

// maxRecord bounds what is read of a record. Its parts may hold the texts of
// files.
const maxRecord = 64 << 20

var errRecord = errors.New("not a record of this version")

// encode returns the record as a file holds it.
func (r Record) encode(s Stamp) []byte {
	buf := append(make([]byte, 0, 1024), recordMagic...)
	buf = append(buf, r.Layer[:]...)
	buf = binary.BigEndian.AppendUint64(buf, uint64(r.Made.UnixNano()))
	buf = binary.BigEndian.AppendUint64(buf, uint64(r.Took))
	buf = appendString(buf, s.Boot)
	buf = appendString(buf, s.FileSystem)
	buf = binary.BigEndian.AppendUint64(buf, uint64(s.At))
	buf = binary.BigEndian.AppendUint64(buf, uint64(len(r.Parts)))
	for _, p := range r.Parts {
		buf = appendString(buf, p.Name)
		buf = appendString(buf, p.Value)
	}
	sum := sha256.Sum256(buf)
	return append(buf, sum[:]...)
}

// decodeRecord parses what encode returned.
func decodeRecord(data []byte) (r Record, s Stamp, err error) {
	body, ok := checked(data, recordMagic)
	if !ok {
		return r, s, errRecord
	}
	d := decoder{rest: body}
	copy(r.Layer[:], d.take(len(r.Layer)))
	r.Made = time.Unix(0, int64(d.number()))
	r.Took = time.Duration(d.number())
	s.Boot, s.FileSystem, s.At = d.text(), d.text(), time.Duration(d.number())
	n := d.number()
	// A part has two lengths of eight bytes: no more memory than the file is long.
	if n > uint64(len(d.rest))/16 {
		return Record{}, Stamp{}, errRecord
	}
	r.Parts = make(Parts, 0, n)
	for range n {
		r.Parts = append(r.Parts, Part{Name: d.text(), Value: d.text()})
	}
	if d.short || len(d.rest) > 0 {
		return Record{}, Stamp{}, errRecord
	}
	return r, s, nil
}

// checked returns what is between the magic at the beginning of data and the
// checksum of all before it at the end.
func checked(data []byte, magic string) (body []byte, ok bool) {
	if len(data) < len(magic)+sha256.Size || string(data[:len(magic)]) != magic {
		return nil, false
	}
	end := len(data) - sha256.Size
	sum := sha256.Sum256(data[:end])
	return data[len(magic):end], bytes.Equal(sum[:], data[end:])
}

// decoder takes values from the front of rest; short is set when there are too
// few bytes.
type decoder struct {
	rest  []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if n > len(d.rest) {
		d.short, d.rest = true, nil
		return nil
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) number() uint64 {
	b := d.take(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (d *decoder) text() string {
	n := d.number()
	if n > uint64(len(d.rest)) {
		d.short, d.rest = true, nil
		return ""
	}
	return string(d.take(int(n)))
}

func (c *Cache) recordPath(k Key) string {
	name := k.String()
	return filepath.Join(c.dir, "records", name[:2], name)
}

// fresh is for how long a record counts as just used: within it, another use is
// not noted.
const fresh = time.Hour

// Get returns the record of a key. ok is false where there is none; one that is
// torn, or another key's, is removed. A use is noted in the file's time.
func (c *Cache) Get(k Key) (rec Record, ok bool, err error) {
	path := c.recordPath(k)
	data, modified, err := readFile(path, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("record %s: %w", k, err)
	}
	rec, stamp, err := decodeRecord(data)
	if err != nil || rec.Parts.Key() != k {
		return Record{}, false, c.Forget(k)
	}
	if rec.Trusted, err = c.Trusted(stamp); err != nil {
		return Record{}, false, fmt.Errorf("record %s: %w", k, err)
	}
	if now := time.Now(); now.Sub(modified) > fresh {
		// A record that somebody else takes away or owns is as good.
		_ = os.Chtimes(path, now, now)
	}
	return rec, true, nil
}

// Put remembers what a key gave. Where that is remembered already, the record
// that was first stays, and is returned.
func (c *Cache) Put(k Key, r Record) (winner Record, err error) {
	for range 4 {
		winner, err = c.put(k, r)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return Record{}, fmt.Errorf("put record %s: %w", k, err)
	}
	return winner, nil
}

// put tries once; the error is ErrExist where what was there is gone again, or
// was torn.
func (c *Cache) put(k Key, r Record) (winner Record, err error) {
	temp, err := c.writeRecord(r)
	if err != nil {
		return Record{}, err
	}
	path := c.recordPath(k)
	err = inDir(path, func() error { return sys.RenameNoReplace(temp, path) })
	if err == nil {
		r.Trusted = true
		return r, nil
	}
	err = errors.Join(err, os.Remove(temp))
	if !errors.Is(err, fs.ErrExist) {
		return Record{}, err
	}
	first, ok, getErr := c.Get(k)
	if ok || getErr != nil {
		return first, getErr
	}
	return Record{}, err
}

// Replace remembers what a key gave in the place of what was remembered.
func (c *Cache) Replace(k Key, r Record) error {
	temp, err := c.writeRecord(r)
	if err != nil {
		return fmt.Errorf("replace record %s: %w", k, err)
	}
	path := c.recordPath(k)
	if err := inDir(path, func() error { return os.Rename(temp, path) }); err != nil {
		return errors.Join(fmt.Errorf("replace record %s: %w", k, err), os.Remove(temp))
	}
	return nil
}

// Forget removes the record of a key. It is fine that there is none.
func (c *Cache) Forget(k Key) error {
	if err := os.Remove(c.recordPath(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget record: %w", err)
	}
	return nil
}

func (c *Cache) writeRecord(r Record) (path string, err error) {
	stamp, err := c.Stamp()
	if err != nil {
		return "", err
	}
	return c.writeTemp(r.encode(stamp))
}

// writeTemp writes a file under this process's lease.
func (c *Cache) writeTemp(data []byte) (path string, err error) {
	lease, err := c.anyLease()
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(filepath.Join(lease.Dir(), newName()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// inDir calls f, and once more with the directory of path made if that was
// missing.
func inDir(path string, f func() error) error {
	err := f()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return f()
}

// readFile reads a file of at most limit bytes, and when it was modified.
func readFile(path string, limit int64) (data []byte, modified time.Time, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	if st.Size() > limit {
		return nil, st.ModTime(), nil // a checksum will not be found in it
	}
	data = make([]byte, st.Size())
	_, err = io.ReadFull(f, data)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil, st.ModTime(), nil
	}
	return data, st.ModTime(), err
}
