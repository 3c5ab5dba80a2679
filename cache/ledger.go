package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"builder/image"
	"builder/internal/sys"
)

// Ledger is what the steps that used a directory last saw besides it. Programs
// compare the times of what they keep in the directory with those of what they
// made it from.
type Ledger struct {
	// Base are the layers that the root of the last step began with.
	Base []image.ContentDigest
	// Files are the other files that it saw, by their paths in the step.
	Files map[string]Seen
	// Ended is when the last step that used the directory ended, in nanoseconds since
	// 1970; 0 is not known.
	Ended int64
	// Lost says that steps used the directory and nobody knows what they saw.
	Lost bool
}

// Seen is a file as a step saw it.
type Seen struct {
	Digest [sha256.Size]byte
	Mtime  int64 // nanoseconds since 1970
}

const (
	ledgerName = "ledger"
	ledgerHead = "builder ledger 1\n"
)

// Ledger returns what the last step saw. It is empty for a directory that no step
// has used.
func (m *Mount) Ledger() (Ledger, error) {
	l, err := readLedger(filepath.Join(m.dir, ledgerName))
	if errors.Is(err, fs.ErrNotExist) {
		used := false
		if used, err = m.used(); used {
			return Ledger{Lost: true}, nil
		}
		return Ledger{}, err
	}
	return l, err
}

// used reports whether something is in a directory without a ledger.
func (m *Mount) used() (bool, error) {
	if m.Fresh {
		return false, nil
	}
	entries, err := os.ReadDir(m.Dir())
	return len(entries) > 0, err
}

func readLedger(path string) (Ledger, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Ledger{}, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Ledger{}, err
	}
	l, ok := decodeLedger(data)
	if !ok {
		return Ledger{Lost: true}, nil
	}
	l.Ended = st.ModTime().UnixNano()
	return l, nil
}

// See writes down what a step is about to see. That it has ended is told by
// [Mount.Done].
func (m *Mount) See(l Ledger) error {
	unlock, err := m.lockLedger()
	if err != nil {
		return err
	}
	m.saw = &l
	return errors.Join(m.write(l), unlock())
}

// Done says that the step has ended that saw what [Mount.See] was told. What
// another step saw otherwise meanwhile is as good as new for the next one.
func (m *Mount) Done() (err error) {
	if m.saw == nil {
		return nil
	}
	unlock, err := m.lockLedger()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	path := filepath.Join(m.dir, ledgerName)
	now, err := readLedger(path)
	if err != nil || now.Lost {
		return err
	}
	before := len(now.Files)
	maps.DeleteFunc(now.Files, func(path string, s Seen) bool { return m.saw.Files[path].Digest != s.Digest })
	same := slices.Equal(now.Base, m.saw.Base)
	if !same {
		now.Files = nil
	}
	if len(now.Files) != before || !same {
		if err := m.write(now); err != nil {
			return err
		}
	}
	// Others may still be at work, and then the end is not known.
	alone, err := sys.TryLock(m.lock)
	if err != nil || !alone {
		return err
	}
	end := time.Now()
	return os.Chtimes(path, end, end)
}

// lockLedger keeps others from changing the ledger.
func (m *Mount) lockLedger() (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(m.dir, idName), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := sys.Lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// write replaces the ledger; when the step ends is not known yet.
func (m *Mount) write(l Ledger) error {
	lease, err := m.c.anyLease()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(lease.Dir(), "ledger-*")
	if err != nil {
		return err
	}
	_, err = f.Write(l.encode())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	unknown := time.Unix(0, 0)
	if err := os.Chtimes(f.Name(), unknown, unknown); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(m.dir, ledgerName))
}

func (l Ledger) encode() []byte {
	b := append(make([]byte, 0, 1<<16), ledgerHead...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(l.Base)))
	for _, c := range l.Base {
		b = append(b, c[:]...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(len(l.Files)))
	for _, path := range slices.Sorted(maps.Keys(l.Files)) {
		s := l.Files[path]
		b = appendString(b, path)
		b = append(b, s.Digest[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(s.Mtime))
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// decodeLedger reads what encode wrote; ok is false for anything else.
func decodeLedger(data []byte) (l Ledger, ok bool) {
	n := len(data) - sha256.Size
	if n < len(ledgerHead) || string(data[:len(ledgerHead)]) != ledgerHead || sha256.Sum256(data[:n]) != [sha256.Size]byte(data[n:]) {
		return l, false
	}
	d := ledgerReader{rest: data[len(ledgerHead):n]}
	for range d.number(sha256.Size) {
		l.Base = append(l.Base, image.ContentDigest(d.bytes(sha256.Size)))
	}
	count := d.number(8 + sha256.Size + 8)
	l.Files = make(map[string]Seen, count)
	for range count {
		path := string(d.bytes(d.number(1)))
		l.Files[path] = Seen{Digest: [sha256.Size]byte(d.bytes(sha256.Size)), Mtime: int64(binary.BigEndian.Uint64(d.bytes(8)))}
	}
	return l, !d.short && len(d.rest) == 0
}

// ledgerReader reads fields. Where there are too few bytes it returns zeros.
type ledgerReader struct {
	rest  []byte
	short bool
}

func (d *ledgerReader) bytes(n int) []byte {
	if n > len(d.rest) {
		d.short, d.rest = true, nil
		return make([]byte, min(n, 1<<10))
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// number reads how many things of a size follow.
func (d *ledgerReader) number(size int) int {
	n := binary.BigEndian.Uint64(d.bytes(8))
	if n > uint64(len(d.rest)/size) {
		d.short = true
		return 0
	}
	return int(n)
}
