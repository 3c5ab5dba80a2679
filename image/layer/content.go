package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// copier copies the files of a layer and verifies them as they pass.
type copier struct {
	src  Source
	hash hash.Hash
	head [pycHeader]byte
	sum  [sha256.Size]byte
}

func newCopier(src Source) *copier { return &copier{src: src, hash: sha256.New()} }

// window is where a copier puts bytes: space returns room for some, advance
// takes the first n of them.
type window interface {
	space() ([]byte, error)
	advance(n int) error
}

// copy copies the file of e to w. time is what the header of a compiled Python
// file gets in place of its time; nil leaves that as it is.
func (c *copier) copy(ctx context.Context, w window, e *Entry, time *int64) (err error) {
	r, err := c.src.Open(ctx, *e)
	if err != nil {
		return fmt.Errorf("open %s: %w", e.Path, err)
	}
	defer func() {
		if e := r.Close(); e != nil {
			err = errors.Join(err, e)
		}
	}()
	c.hash.Reset()
	left, ended := e.Size, false
	if e.Pyc > 0 {
		if err := c.header(w, r, e, time); err != nil {
			return err
		}
		left -= pycHeader
	}
	for left > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		room, err := w.space()
		if err != nil {
			return err
		}
		n, err := r.Read(room[:min(int64(len(room)), left)])
		c.hash.Write(room[:n])
		if err := w.advance(n); err != nil {
			return err
		}
		left -= int64(n)
		ended = errors.Is(err, io.EOF)
		if ended && left > 0 {
			return fmt.Errorf("%s is shorter than it was: %w", e.Path, ErrChanged)
		}
		if err != nil && !ended {
			return fmt.Errorf("read %s: %w", e.Path, err)
		}
	}
	if !ended {
		if err := c.atEnd(r, e); err != nil {
			return err
		}
	}
	if c.hash.Sum(c.sum[:0]); c.sum != e.Digest {
		return fmt.Errorf("%s: %w", e.Path, ErrChanged)
	}
	return nil
}

// atEnd asks whether a file that was read so far ends there.
func (c *copier) atEnd(r io.Reader, e *Entry) error {
	n, err := io.ReadFull(r, c.head[:1])
	if n > 0 {
		return fmt.Errorf("%s is longer than it was: %w", e.Path, ErrChanged)
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", e.Path, err)
	}
	return nil
}

// header copies the header of a compiled Python file.
func (c *copier) header(w window, r io.Reader, e *Entry, time *int64) error {
	_, err := io.ReadFull(r, c.head[:])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s is shorter than it was: %w", e.Path, ErrChanged)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", e.Path, err)
	}
	bare := c.head
	setPycTime(bare[:], 0)
	c.hash.Write(bare[:])
	if time != nil {
		setPycTime(c.head[:], *time)
	}
	return put(w, c.head[:])
}

// put copies b to w.
func put(w window, b []byte) error {
	for len(b) > 0 {
		room, err := w.space()
		if err != nil {
			return err
		}
		n := copy(room, b)
		if err := w.advance(n); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
