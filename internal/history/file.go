package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// The most that is read of a record and of its log.
const (
	maxRecord = 8 << 20
	maxLog    = 64 << 20
)

// encode writes a record as one line of JSON, and its log after it, compressed.
// The compressor without a state starts at once, which is what short logs need.
func encode(r *Record, log []byte) ([]byte, error) {
	head, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(head) >= maxRecord || len(log) > maxLog {
		return nil, errors.New("it is too long")
	}
	var b bytes.Buffer
	b.Write(append(head, '\n'))
	zw, err := gzip.NewWriterLevel(&b, gzip.StatelessCompression)
	if err != nil {
		return nil, err
	}
	if _, err := zw.Write(log); err != nil {
		return nil, err
	}
	err = zw.Close() // writes the rest
	return b.Bytes(), err
}

// decode reads the record of a file, and returns what gives its log. It reads no
// further than asked for.
func decode(r io.Reader) (*Record, func() ([]byte, error), error) {
	br := bufio.NewReaderSize(r, 16<<10)
	var head []byte
	for {
		part, err := br.ReadSlice('\n')
		if head = append(head, part...); len(head) > maxRecord {
			return nil, nil, errors.New("its record is too long")
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, nil, errors.New("it is torn, or no record")
		}
	}
	rec, err := parseRecord(head)
	return rec, func() ([]byte, error) { return readLog(br) }, err
}

func parseRecord(data []byte) (*Record, error) {
	var version struct{ Version int }
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("it is no record: %w", err)
	}
	if version.Version != Version {
		return nil, fmt.Errorf("it has version %d, and this builder reads version %d", version.Version, Version)
	}
	rec := &Record{}
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, fmt.Errorf("it is no record: %w", err)
	}
	if !rec.valid() {
		return nil, errors.New("it is no record")
	}
	return rec, nil
}

func readLog(r io.Reader) ([]byte, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("its log cannot be read: %w", err)
	}
	log, err := io.ReadAll(io.LimitReader(zr, maxLog+1))
	if err != nil {
		return nil, fmt.Errorf("its log cannot be read: %w", err)
	}
	if len(log) > maxLog {
		return nil, errors.New("its log is too long")
	}
	return log, nil
}
