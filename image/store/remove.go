package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"builder/image"
	"builder/internal/sys"
)

// RemoveOptions say how an image is removed.
type RemoveOptions struct {
	// Force removes an image by its ID although several repositories name it.
	Force bool
	// KeepUntagged leaves an image here that has lost its last name.
	KeepUntagged bool
	// Platform, where it is given, takes the image for it alone out of a name's.
	Platform image.Platform
	// InUse says why an image must stay, such as a container that uses it. May be nil.
	InUse func(id image.Digest) error
}

// Removed is what a removal has done, in docker's order.
type Removed struct {
	Untagged []image.Reference
	Deleted  []image.Digest
	// Layers are those of deleted images that no other image has.
	Layers []image.Layer
}

// Lines returns docker's report.
func (r Removed) Lines() []string {
	var lines []string
	for _, ref := range r.Untagged {
		lines = append(lines, "Untagged: "+ref.Familiar())
	}
	for _, id := range r.Deleted {
		lines = append(lines, "Deleted: "+string(id))
	}
	return lines
}

// ConflictError says why an image is not removed.
type ConflictError struct {
	ID     image.Digest
	Reason string
}

// Error is worded as docker's.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("conflict: unable to delete %s (must be forced) - %s", e.ID.Encoded()[:12], e.Reason)
}

// Remove takes a name away and, with its last name, the image; by an ID it takes
// all names away, which needs Force if they are in several repositories. Digests
// by which an image is known go with its last tag.
func (s *Store) Remove(ctx context.Context, text string, o RemoveOptions) (Removed, error) {
	found, err := s.Find(ctx, text, o.Platform)
	if err != nil {
		return Removed{}, err
	}
	if o.Platform.OS != "" && !image.MatchPlatform(o.Platform, found.Platform) {
		return Removed{}, fmt.Errorf("image %s was found but does not provide the specified platform (%s)", text, image.FormatPlatform(o.Platform))
	}
	names, err := s.namesOf(found.ID)
	if err != nil {
		return Removed{}, err
	}
	gone := []Name{found.Name}
	if found.Name.Reference.IsZero() {
		if several(names) && !o.Force {
			return Removed{}, &ConflictError{ID: found.ID, Reason: "image is referenced in multiple repositories"}
		}
		gone = names
	}
	rest := slices.DeleteFunc(slices.Clone(names), func(n Name) bool {
		return slices.ContainsFunc(gone, func(g Name) bool { return g.Reference == n.Reference })
	})
	last := !slices.ContainsFunc(rest, func(n Name) bool { return n.Reference.Tag() != "" })
	if last && o.InUse != nil {
		if err := o.InUse(found.ID); err != nil {
			return Removed{}, err
		}
	}
	if last {
		gone = append(gone, rest...)
	}
	return s.remove(ctx, found.ID, gone, o)
}

// remove takes names away and the images that lose their last by it.
func (s *Store) remove(ctx context.Context, id image.Digest, names []Name, o RemoveOptions) (Removed, error) {
	var r Removed
	ids := []image.Digest{id}
	for _, n := range names {
		untagged, err := s.untag(ctx, n.Reference, func(other Name) bool { return o.Platform.OS == "" || other.ID == id })
		if err != nil {
			return r, err
		}
		if len(untagged) > 0 {
			r.Untagged = append(r.Untagged, n.Reference)
		}
		for _, u := range untagged {
			ids = append(ids, u.ID)
		}
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if o.KeepUntagged {
			break
		}
		layers, deleted, err := s.delete(ctx, id)
		if err != nil {
			return r, err
		}
		if deleted {
			r.Deleted = append(r.Deleted, id)
			r.Layers = append(r.Layers, layers...)
		}
	}
	return r, nil
}

// several reports whether names are in more than one repository.
func several(names []Name) bool {
	return slices.ContainsFunc(names, func(n Name) bool { return n.Reference.Name() != names[0].Reference.Name() })
}

func (s *Store) namesOf(id image.Digest) ([]Name, error) {
	names, err := s.Names()
	return slices.DeleteFunc(names, func(n Name) bool { return n.ID != id }), err
}

// delete removes an image that has no name. It returns the layers that no other
// image has.
func (s *Store) delete(ctx context.Context, id image.Digest) (layers []image.Layer, deleted bool, err error) {
	unlock, err := s.lock(ctx, s.recordPath(id)+".lock", nil)
	if err != nil {
		return nil, false, fmt.Errorf("delete image %s: %w", id, err)
	}
	r, ok, err := s.Image(id)
	if err == nil && ok {
		var names []Name
		names, err = s.namesOf(id)
		ok = len(names) == 0
	}
	if err == nil && ok {
		err = errors.Join(s.discardFile(s.recordPath(id)), s.discardFile(s.blobPath(id)))
	}
	if err := errors.Join(err, unlock()); err != nil {
		return nil, false, fmt.Errorf("delete image %s: %w", id, err)
	}
	if !ok {
		return nil, false, nil
	}
	layers, err = s.unused(r.Layers)
	if err == nil {
		err = s.collect(append(layers[:len(layers):len(layers)], r.received()...))
	}
	if err != nil {
		return nil, true, fmt.Errorf("delete image %s: %w", id, err)
	}
	return layers, true, nil
}

// unused returns the layers that no image has.
func (s *Store) unused(layers []image.Layer) ([]image.Layer, error) {
	records, err := s.Records()
	if err != nil {
		return nil, err
	}
	used := map[image.Digest]bool{}
	for _, r := range records {
		for _, l := range r.Layers {
			used[l.DiffID] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(layers), func(l image.Layer) bool { return used[l.DiffID] }), nil
}

// Hold keeps the blobs that no image needs yet from being collected: a process
// holds from its first look at a blob until the image that needs it is recorded.
func (s *Store) Hold() (release func() error, err error) {
	f, err := s.holdFile()
	if err == nil {
		err = sys.LockShared(f)
	}
	if err != nil {
		return nil, fmt.Errorf("hold blobs: %w", err)
	}
	return f.Close, nil
}

func (s *Store) holdFile() (*os.File, error) {
	path := filepath.Join(s.dir, "blobs", "hold")
	var f *os.File
	err := withDir(path, func() (err error) {
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		return err
	})
	return f, err
}

// collect removes the blobs of layers that no image has, unless somebody holds
// them: then they stay until they are pruned.
func (s *Store) collect(layers []image.Layer) error {
	f, err := s.holdFile()
	if err != nil {
		return err
	}
	ok, err := sys.TryLock(f)
	if err != nil || !ok {
		return errors.Join(err, f.Close())
	}
	layers, err = s.unused(layers) // a holder may have come and gone
	for _, l := range layers {
		if l.Blob != nil {
			err = errors.Join(err, s.discardFile(s.blobPath(l.Blob.Digest)))
		}
		err = errors.Join(err, s.forgetPacked(l.DiffID))
	}
	return errors.Join(err, f.Close())
}

// forgetPacked removes the blobs that a layer was packed into.
func (s *Store) forgetPacked(diffID image.Digest) error {
	forms, err := filepath.Glob(filepath.Join(s.dir, "packed", "*", diffID.Encoded()))
	if err != nil {
		return err
	}
	for _, path := range forms {
		d, ok := s.remembered(path, "")
		if ok && d.blob.Digest != diffID {
			err = errors.Join(err, s.discardFile(s.blobPath(d.blob.Digest)))
		}
		err = errors.Join(err, s.discardFile(path))
	}
	return err
}

// discardFile takes a file out of the store, if it is there.
func (s *Store) discardFile(path string) error {
	if err := s.discard(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
