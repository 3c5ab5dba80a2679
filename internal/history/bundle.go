package history

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// A bundle is a tar, compressed with gzip: the file builder-history, which says
// the version, then for each build REF/record.json and REF/log.jsonl.
const (
	bundleMark    = "builder-history"
	bundleVersion = "1\n"
	recordFile    = "record.json"
	logFile       = "log.jsonl"
)

// The most that is taken from a bundle.
const (
	maxBundle  = 512 << 20
	maxEntries = 20_000
)

// Export writes records as a bundle. The same records make the same bytes.
func Export(w io.Writer, list []Kept) error {
	zw := gzip.NewWriter(w)
	tw := tar.NewWriter(zw)
	put := func(k *Kept, name string, data []byte) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), Format: tar.FormatPAX}
		if k != nil {
			h.ModTime = k.CompletedAt.Truncate(1e9)
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := tw.Write(data)
		return err
	}
	if err := put(nil, bundleMark, []byte(bundleVersion)); err != nil {
		return err
	}
	for _, k := range list {
		record, err := json.MarshalIndent(k.Record, "", "  ")
		if err != nil {
			return err
		}
		log, err := k.Log()
		if err != nil {
			return err
		}
		if err := errors.Join(put(&k, k.Ref+"/"+recordFile, append(record, '\n')), put(&k, k.Ref+"/"+logFile, log)); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), zw.Close())
}

// Import reads a bundle and gives each record with its log to keep. It ends at
// the first thing that a bundle does not hold; what it takes is bounded.
func Import(r io.Reader, keep func(*Record, []byte) error) error {
	br := bufio.NewReader(r)
	in := io.Reader(br)
	if magic, err := br.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		zr, err := gzip.NewReader(br)
		if err != nil {
			return fmt.Errorf("it cannot be decompressed: %w", err)
		}
		in = zr
	}
	b := bundle{tr: tar.NewReader(io.LimitReader(in, maxBundle)), keep: keep}
	if err := b.mark(); err != nil {
		return err
	}
	for {
		if done, err := b.next(); done || err != nil {
			return errors.Join(err, b.incomplete())
		}
	}
}

// bundle is one that is being read: record is there until its log has come.
type bundle struct {
	tr      *tar.Reader
	keep    func(*Record, []byte) error
	record  *Record
	entries int
}

func (b *bundle) mark() error {
	h, err := b.tr.Next()
	if err != nil || h.Name != bundleMark {
		return errors.New("it is no bundle of build records")
	}
	version, err := io.ReadAll(io.LimitReader(b.tr, 16))
	if err != nil {
		return err
	}
	if string(version) != bundleVersion {
		return fmt.Errorf("it is a bundle of version %q, and this builder reads version 1", strings.TrimSpace(string(version)))
	}
	return nil
}

func (b *bundle) next() (done bool, err error) {
	h, err := b.tr.Next()
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("it is torn: %w", err)
	}
	if b.entries++; b.entries > maxEntries {
		return false, fmt.Errorf("it has more than %d files", maxEntries)
	}
	ref, file, ok := strings.Cut(h.Name, "/")
	switch {
	case ok && h.Typeflag == tar.TypeReg && file == recordFile && b.record == nil:
		data, err := b.read(h, maxRecord-1)
		if err != nil {
			return false, err
		}
		r, err := parseRecord(data)
		if err != nil {
			return false, fmt.Errorf("%s: %w", h.Name, err)
		}
		if r.Ref != ref {
			return false, fmt.Errorf("%s: it is the record of %s", h.Name, r.Ref)
		}
		b.record = r
		return false, nil
	case ok && h.Typeflag == tar.TypeReg && file == logFile && b.record != nil && b.record.Ref == ref:
		log, err := b.read(h, maxLog)
		if err != nil {
			return false, err
		}
		r := b.record
		b.record, r.Imported = nil, true
		return false, b.keep(r, log)
	}
	return false, fmt.Errorf("%q does not belong in a bundle of build records", h.Name)
}

func (b *bundle) read(h *tar.Header, most int64) ([]byte, error) {
	if h.Size > most {
		return nil, fmt.Errorf("%q is longer than %d bytes", h.Name, most)
	}
	data, err := io.ReadAll(b.tr)
	if err != nil {
		return nil, fmt.Errorf("%q is torn: %w", h.Name, err)
	}
	return data, nil
}

func (b *bundle) incomplete() error {
	if b.record != nil {
		return fmt.Errorf("the log of %s is missing", b.record.Ref)
	}
	return nil
}
