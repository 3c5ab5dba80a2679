package store

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"

	"builder/image"
)

const (
	// blockSize is what is compressed as one piece. It is part of the bytes that
	// come out, and the number of pieces at once is not.
	blockSize = 1 << 20
	// maxWindow bounds the memory that a stranger's zstd frame can ask for.
	maxWindow = 128 << 20
	// compressors is the version of the bytes that come out: it changes with the
	// libraries' output, and what was remembered before is forgotten.
	compressors = 1
)

// Decompress returns the bytes that r holds packed as gzip or zstd, or those of
// r where it is neither: the first bytes decide. bzip2 is read too, as docker
// does. The reader's Close does not close r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 256<<10)
	start, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(start, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case isZstd(start):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(min(2, runtime.GOMAXPROCS(0))), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(start, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(buffered)), nil
	default:
		return io.NopCloser(buffered), nil
	}
}

// isZstd knows a frame and a skippable frame: RFC 8878, 3.1.
func isZstd(start []byte) bool {
	return bytes.Equal(start, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(start) == 4 && start[0]&0xf0 == 0x50 && bytes.Equal(start[1:], []byte{0x2a, 0x4d, 0x18})
}

// Compress returns a writer that packs what is written to it and sends it on to
// w. Its bytes are a function of the bytes written, of c and of level (0 is the
// default); neither the sizes of the writes nor the number of processors change
// them. Close ends the stream and leaves w open.
func Compress(w io.Writer, c image.Compression, level int) (io.WriteCloser, error) {
	switch c {
	case image.Gzip:
		return compressGzip(w, level)
	case image.Zstd:
		return compressZstd(w, level)
	default:
		return nopCloser{w}, nil
	}
}

func compressGzip(w io.Writer, level int) (io.WriteCloser, error) {
	if level < 0 || level > 9 {
		return nil, fmt.Errorf("gzip has levels from 1 to 9, not %d", level)
	}
	if level == 0 {
		level = pgzip.DefaultCompression
	}
	z, err := pgzip.NewWriterLevel(w, level)
	if err != nil {
		return nil, err
	}
	if err := z.SetConcurrency(blockSize, max(2, runtime.GOMAXPROCS(0)+1)); err != nil {
		return nil, err
	}
	return z, nil
}

func compressZstd(w io.Writer, level int) (io.WriteCloser, error) {
	if level < 0 || level > 22 {
		return nil, fmt.Errorf("zstd has levels from 1 to 22, not %d", level)
	}
	speed := zstd.SpeedDefault
	if level != 0 {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(max(2, runtime.GOMAXPROCS(0))))
	if err != nil {
		return nil, err
	}
	// The encoder's bytes follow the sizes of the writes: all but the last are equal.
	return &chunked{buffer: bufio.NewWriterSize(exactly{z}, blockSize), under: z}, nil
}

// chunked passes writes on in chunks of one size.
type chunked struct {
	buffer *bufio.Writer
	under  io.WriteCloser
}

// Write copies into the buffer always: bufio passes big writes by otherwise.
func (c *chunked) Write(p []byte) (int, error) {
	done := 0
	for len(p) > 0 {
		n := min(len(p), c.buffer.Available())
		if _, err := c.buffer.Write(p[:n]); err != nil {
			return done, err
		}
		if c.buffer.Available() == 0 {
			if err := c.buffer.Flush(); err != nil {
				return done, err
			}
		}
		p, done = p[n:], done+n
	}
	return done, nil
}

func (c *chunked) Close() error {
	if err := c.buffer.Flush(); err != nil {
		return err
	}
	return c.under.Close()
}

// exactly hides everything but Write.
type exactly struct{ io.Writer }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
