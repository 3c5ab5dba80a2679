package store

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"

	"builder/image"
)

// Has reports whether a blob is here.
func (s *Store) Has(d image.Digest) bool {
	_, ok := s.Stat(d)
	return ok
}

// Stat returns the size of a blob, and false where it is not here.
func (s *Store) Stat(d image.Digest) (size int64, ok bool) {
	if image.CheckDigest(d) != nil {
		return 0, false
	}
	st, err := os.Lstat(s.blobPath(d))
	if err != nil || !st.Mode().IsRegular() {
		return 0, false
	}
	return st.Size(), true
}

// Blob is an open blob. It may be read and sought as a file; it stays readable
// when it is removed from the store.
type Blob struct {
	*io.SectionReader
	file *os.File
}

// Close closes the blob.
func (b *Blob) Close() error { return b.file.Close() }

// WriteTo implements [io.WriterTo], so that the kernel may copy from file to file.
func (b *Blob) WriteTo(w io.Writer) (int64, error) {
	at, err := b.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	if _, err := b.file.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.Copy(w, io.LimitReader(b.file, b.Size()-at))
	_, serr := b.Seek(at+n, io.SeekStart)
	return n, errors.Join(err, serr)
}

// Provide opens a blob. The error is [ErrNotFound] where it is not here. The
// bytes were verified when they came; they are not verified again.
func (s *Store) Provide(_ context.Context, d image.Digest) (*Blob, error) {
	if err := image.CheckDigest(d); err != nil {
		return nil, err
	}
	f, err := os.Open(s.blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", d, err)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("blob %s: %w", d, err), f.Close())
	}
	return &Blob{SectionReader: io.NewSectionReader(f, 0, st.Size()), file: f}, nil
}

// Read returns a small blob, such as a config. Its bytes are verified.
func (s *Store) Read(ctx context.Context, d image.Digest, limit int64) ([]byte, error) {
	b, err := s.Provide(ctx, d)
	if err != nil {
		return nil, err
	}
	if b.Size() > limit {
		return nil, errors.Join(fmt.Errorf("blob %s: %d bytes are more than %d", d, b.Size(), limit), b.Close())
	}
	data := make([]byte, b.Size())
	_, err = io.ReadFull(b, data)
	if err := errors.Join(err, b.Close()); err != nil {
		return nil, fmt.Errorf("blob %s: %w", d, err)
	}
	if got := digest.FromBytes(data); got != d {
		return nil, fmt.Errorf("blob %s is damaged: its digest is %s: %w", d, got, ErrNotFound)
	}
	return data, nil
}

// Writer is a blob that is being written. It ends with Commit or Discard.
type Writer struct {
	store *Store
	file  *os.File
	hash  hash.Hash
	size  int64
}

// Create begins a blob whose digest is not known yet.
func (s *Store) Create(_ context.Context) (*Writer, error) {
	f, err := s.createTemp("blob-*")
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	return &Writer{store: s, file: f, hash: digest.Canonical.Hash()}, nil
}

// Write implements [io.Writer].
func (w *Writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// Size returns how much was written so far.
func (w *Writer) Size() int64 { return w.size }

// Commit makes what was written a blob of the store and returns its digest and
// size. Where the store has the blob already, that one stays.
func (w *Writer) Commit() (image.Descriptor, error) {
	d := image.Descriptor{Digest: digest.NewDigest(digest.SHA256, w.hash), Size: w.size}
	err := w.file.Close()
	if err == nil {
		err = publish(w.file.Name(), w.store.blobPath(d.Digest))
	}
	if err != nil {
		return image.Descriptor{}, errors.Join(fmt.Errorf("commit blob %s: %w", d.Digest, err), w.remove())
	}
	return d, nil
}

// CommitAs is Commit for a blob that has to have d's digest and size. Where it
// has not, nothing is published.
func (w *Writer) CommitAs(d image.Descriptor) error {
	got := digest.NewDigest(digest.SHA256, w.hash)
	if w.size != d.Size || got != d.Digest {
		return errors.Join(&MismatchError{Want: d, Digest: got, Size: w.size}, w.Discard())
	}
	_, err := w.Commit()
	return err
}

// Discard forgets what was written.
func (w *Writer) Discard() error { return errors.Join(w.file.Close(), w.remove()) }

func (w *Writer) remove() error {
	err := os.Remove(w.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// MismatchError says that bytes were not those of a descriptor.
type MismatchError struct {
	Want   image.Descriptor
	Digest image.Digest
	Size   int64
}

// Error names the digest if the sizes agree, else the sizes.
func (e *MismatchError) Error() string {
	if e.Size != e.Want.Size {
		return fmt.Sprintf("blob %s has %d bytes, not %d", e.Want.Digest, e.Size, e.Want.Size)
	}
	return fmt.Sprintf("blob %s arrived with digest %s", e.Want.Digest, e.Digest)
}

// Put makes a small blob.
func (s *Store) Put(ctx context.Context, data []byte) (image.Digest, error) {
	d := digest.FromBytes(data)
	if size, ok := s.Stat(d); ok && size == int64(len(data)) {
		return d, nil
	}
	w, err := s.Create(ctx)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(data); err != nil {
		return "", errors.Join(fmt.Errorf("write blob: %w", err), w.Discard())
	}
	_, err = w.Commit()
	return d, err
}

// Ingest makes a blob of what r holds, which has to have d's digest and size. No
// more than d.Size bytes and one are read.
func (s *Store) Ingest(ctx context.Context, d image.Descriptor, r io.Reader) error {
	if err := image.CheckDigest(d.Digest); err != nil {
		return err
	}
	if size, ok := s.Stat(d.Digest); ok && size == d.Size {
		return nil
	}
	w, err := s.Create(ctx)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, io.LimitReader(contextReader{ctx, r}, d.Size+1)); err != nil {
		return errors.Join(fmt.Errorf("blob %s: %w", d.Digest, err), w.Discard())
	}
	return w.CommitAs(d)
}

// contextReader ends with the context's cause.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
