package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"builder/image"
	"builder/internal/sys"
)

const (
	// attempts is how often in a row a fetch that gets nothing is taken up again.
	attempts = 5
	// firstPause is half the time before the first one; each is twice as long as the
	// one before it, so that a registry has some seconds to start again.
	firstPause = 125 * time.Millisecond
)

// FetchOptions say how a blob is fetched.
type FetchOptions struct {
	// Open opens the blob's bytes from an offset on. An error from it is final
	// before the first byte.
	Open func(ctx context.Context, from int64) (io.ReadCloser, error)
	// Waiting is called once where another process or goroutine fetches the blob
	// already. May be nil.
	Waiting func()
	// Advanced is told how many bytes are here. May be nil.
	Advanced func(current int64)
	// Tee gets the bytes as they come, before they are verified: what is made of
	// them counts only if Fetch succeeds. May be nil. It gets nothing of a blob
	// that is here already.
	Tee io.Writer
}

// Fetch sees to it that a blob is here. Of all processes that ask for it one
// fetches it; the others wait and have it then. A stream that breaks is taken up
// where it broke. fetched is false where the blob was here already or another
// one brought it.
func (s *Store) Fetch(ctx context.Context, d image.Descriptor, o FetchOptions) (fetched bool, err error) {
	if err := image.CheckDigest(d.Digest); err != nil {
		return false, err
	}
	if size, ok := s.Stat(d.Digest); ok && size == d.Size {
		return false, nil
	}
	unlock, err := s.lock(ctx, filepath.Join(s.dir, "blobs", "locks", d.Digest.Encoded()), o.Waiting)
	if err != nil {
		return false, fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if size, ok := s.Stat(d.Digest); ok {
		if size == d.Size {
			return false, nil
		}
		// The digest says which is right; a torn file is not.
		if err := s.discard(s.blobPath(d.Digest)); err != nil {
			return false, fmt.Errorf("blob %s: %w", d.Digest, err)
		}
	}
	w, err := s.Create(ctx)
	if err != nil {
		return false, err
	}
	if err := receive(ctx, w, d, o); err != nil {
		return false, errors.Join(fmt.Errorf("blob %s: %w", d.Digest, err), w.Discard())
	}
	if err := w.CommitAs(d); err != nil {
		return false, err
	}
	return true, nil
}

// receive reads a blob into w, however often its stream breaks on the way.
func receive(ctx context.Context, w *Writer, d image.Descriptor, o FetchOptions) error {
	to := io.Writer(w)
	if o.Tee != nil {
		to = io.MultiWriter(w, o.Tee)
	}
	for failures := 0; ; {
		before := w.Size()
		r, err := o.Open(ctx, before)
		if err != nil && before == 0 {
			return err
		}
		if err == nil {
			err = copyBlob(ctx, to, io.LimitReader(r, d.Size-before+1), w, o.Advanced)
			r.Close() // it was read only
		}
		switch {
		case err == nil && w.Size() >= d.Size, ctx.Err() != nil, errors.As(err, new(writeError)):
			return err
		case err == nil:
			err = io.ErrUnexpectedEOF
		}
		if w.Size() > before {
			failures = 0
		}
		if failures++; failures >= attempts {
			return fmt.Errorf("broke off at %d of %d bytes: %w", w.Size(), d.Size, err)
		}
		if err := pause(ctx, firstPause<<failures); err != nil {
			return err
		}
	}
}

// writeError is an error of this side: asking the other again does not help.
type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

func copyBlob(ctx context.Context, to io.Writer, r io.Reader, w *Writer, advanced func(int64)) error {
	buf := make([]byte, 256<<10)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return writeError{err}
			}
			if advanced != nil {
				advanced(w.Size())
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lock takes the lock with a name, which is a file that is there as long as
// somebody wants the lock. waiting is called once where it is taken.
func (s *Store) lock(ctx context.Context, path string, waiting func()) (unlock func() error, err error) {
	f, err := lockFile(ctx, path, waiting)
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(os.Remove(path), f.Close()) }, nil
}

// lockFile opens a file, which is made where it is missing, and waits for its
// lock. The file that is returned has the name while it is locked.
func lockFile(ctx context.Context, path string, waiting func()) (*os.File, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		f, err := openLocked(path)
		if f != nil || err != nil {
			return f, err
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// openLocked opens a file and takes its lock. It returns nil where somebody else
// has it, or where the file lost its name meanwhile.
func openLocked(path string) (*os.File, error) {
	var f *os.File
	err := withDir(path, func() (err error) {
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		return err
	})
	if err != nil {
		return nil, err
	}
	ok, err := sys.TryLock(f)
	if err != nil || !ok {
		return nil, errors.Join(err, f.Close())
	}
	mine, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if named, err := os.Stat(path); err != nil || !os.SameFile(mine, named) {
		return nil, f.Close()
	}
	return f, nil
}

// pause waits, or ends with the context.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
