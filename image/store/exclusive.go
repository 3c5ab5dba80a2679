package store

import (
	"errors"
	"fmt"

	"builder/image"
	"builder/internal/sys"
)

// Exclusive keeps every other process from using blobs ([Store.Hold]) until
// release. ok is false, at once, where one does.
func (s *Store) Exclusive() (release func() error, ok bool, err error) {
	f, err := s.holdFile()
	if err != nil {
		return nil, false, fmt.Errorf("hold blobs alone: %w", err)
	}
	if ok, err = sys.TryLock(f); err != nil || !ok {
		return nil, false, errors.Join(err, f.Close())
	}
	return f.Close, true, nil
}

// DiscardBlob takes a blob out of the store that the caller knows to be needed
// by nothing, under [Store.Exclusive].
func (s *Store) DiscardBlob(d image.Digest) error {
	if err := image.CheckDigest(d); err != nil {
		return err
	}
	return s.discardFile(s.blobPath(d))
}

// DiscardPacked removes what a layer was packed into. It is packed again when it
// is sent again.
func (s *Store) DiscardPacked(diffID image.Digest) error { return s.forgetPacked(diffID) }
