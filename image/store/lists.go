package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"builder/image"
)

// ManifestList is an index in the making: docker's "manifest" commands write it
// down here until it is pushed. Its images are in registries.
type ManifestList struct {
	// Name is the list's, in full.
	Name    string
	Members []ListMember
}

// ListMember is an image of a list.
type ListMember struct {
	// Reference is what the image was called when it was added, in full.
	Reference string
	// Descriptor is what the list says of it.
	Descriptor image.Descriptor
}

// listHeader begins each file of a list and is followed by the sha256 of the
// rest, which is JSON.
const listHeader = "builder list 1 "

// maxList is how long such a file may be.
const maxList = 16 << 20

func (s *Store) listPath(ref image.Reference) string {
	return filepath.Join(s.dir, "lists", fmt.Sprintf("%x", sha256.Sum256([]byte(ref.String()))))
}

// ManifestList returns the list of a name; ok is false where there is none.
func (s *Store) ManifestList(ref image.Reference) (l ManifestList, ok bool, err error) {
	path := s.listPath(ref)
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, false, nil
	}
	if err == nil && fi.Size() > maxList {
		err = fmt.Errorf("%s has more than %d bytes", path, int64(maxList))
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return l, false, nil // removed meanwhile
	}
	if err != nil {
		return l, false, fmt.Errorf("manifest list %s: %w", ref.Familiar(), err)
	}
	if l, ok, err = parseList(data); err != nil {
		return l, false, fmt.Errorf("manifest list %s: %w", ref.Familiar(), err)
	}
	return l, ok && l.Name == ref.String(), nil
}

// parseList reads the file of a list; ok is false where it is torn.
func parseList(data []byte) (l ManifestList, ok bool, err error) {
	body, ok, err := unseal(listHeader, data)
	if err != nil || !ok {
		return l, false, err
	}
	if json.Unmarshal(body, &l) != nil {
		return ManifestList{}, false, nil
	}
	return l, true, nil
}

// ChangeManifestList edits the list of a name under its lock. edit gets nil where
// there is none, and returns nil for none.
func (s *Store) ChangeManifestList(ctx context.Context, ref image.Reference, edit func(*ManifestList) (*ManifestList, error)) (err error) {
	path := s.listPath(ref)
	unlock, err := s.lock(ctx, path+".lock", nil)
	if err != nil {
		return fmt.Errorf("manifest list %s: %w", ref.Familiar(), err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	old, ok, err := s.ManifestList(ref)
	if err != nil {
		return err
	}
	was := &old
	if !ok {
		was = nil
	}
	now, err := edit(was)
	if err != nil {
		return err
	}
	if now == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("manifest list %s: %w", ref.Familiar(), err)
		}
		return nil
	}
	now.Name = ref.String()
	body, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("manifest list %s: %w", ref.Familiar(), err)
	}
	return s.replace(path, seal(listHeader, append(body, '\n')))
}
