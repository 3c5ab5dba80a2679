package store

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"builder/image"
)

// Found is an image with the name that it was found by.
type Found struct {
	Record
	// Name is zero where the image was found by its ID.
	Name Name
}

// AmbiguousError says that the beginning of an ID fits several images.
type AmbiguousError struct {
	Text string
	IDs  []image.Digest
}

// Error lists the images in their short form.
func (e *AmbiguousError) Error() string {
	short := make([]string, len(e.IDs))
	for i, id := range e.IDs {
		short[i] = id.Encoded()[:12]
	}
	return fmt.Sprintf("image ID %q is ambiguous: it begins %s", e.Text, strings.Join(short, ", "))
}

// MissingError is an [ErrNotFound] that says what is not here.
type MissingError struct{ Text string }

// Error is worded as docker's.
func (e *MissingError) Error() string { return "No such image: " + e.Text }

// Is makes it an [ErrNotFound].
func (e *MissingError) Is(target error) bool { return target == ErrNotFound }

// Find returns the image that people call text: a name with a tag (the default is
// latest), a digest or both, an ID, or the beginning of an ID that no other image
// shares. A digest may be that of the image's config, of its manifest or of the
// index that it was pulled by. Of images for several platforms the one that fits
// want is returned, or any if none fits; the zero want is this machine's.
//
// The error is [ErrNotFound], an [*AmbiguousError], or says why text is no name.
func (s *Store) Find(ctx context.Context, text string, want image.Platform) (Found, error) {
	if digits := strings.TrimPrefix(text, "sha256:"); len(digits) == 64 && isHex(digits) {
		return s.findDigest(image.Digest("sha256:"+digits), text)
	}
	ref, parseErr := image.ParseReference(text)
	if parseErr == nil {
		f, ok, err := s.findName(ref, want)
		if err != nil || ok {
			return f, err
		}
	}
	if prefix := strings.TrimPrefix(text, "sha256:"); prefix != "" && isHex(prefix) {
		if f, ok, err := s.findPrefix(prefix, text); err != nil || ok {
			return f, err
		}
	}
	if parseErr != nil {
		return Found{}, parseErr
	}
	return Found{}, &MissingError{ref.Familiar()}
}

// Lookup is [Store.Find] for what is known to be a name. ok is false where
// nothing here has it.
func (s *Store) Lookup(_ context.Context, ref image.Reference, want image.Platform) (f Found, ok bool, err error) {
	return s.findName(ref, want)
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// findName looks into the repository's names. Where a digest is given, the tag
// says nothing.
func (s *Store) findName(ref image.Reference, want image.Platform) (Found, bool, error) {
	names, err := s.repository(ref.Name(), make([]byte, smallFile))
	if err != nil {
		return Found{}, false, fmt.Errorf("find %s: %w", ref.Familiar(), err)
	}
	var found []Found
	for _, n := range names {
		match := n.Reference == ref
		if ref.Digest() != "" {
			match = n.ID == ref.Digest() || n.Manifest == ref.Digest() || n.Reference.Digest() == ref.Digest()
		}
		if !match && ref.Digest() == "" {
			continue
		}
		r, ok, err := s.Image(n.ID)
		if err != nil {
			return Found{}, false, fmt.Errorf("find %s: %w", ref.Familiar(), err)
		}
		if ok && (match || slices.Contains(r.Manifests, ref.Digest())) {
			manifest := n.Manifest
			if ref.Digest() != "" {
				manifest = ref.Digest()
			}
			found = append(found, Found{Record: r.as(manifest), Name: n})
		}
	}
	if len(found) == 0 {
		return Found{}, false, nil
	}
	return best(found, want), true, nil
}

// best returns the image that fits a platform, or the first.
func best(found []Found, want image.Platform) Found {
	if len(found) == 1 {
		return found[0]
	}
	if want.OS == "" {
		want = image.Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	manifests := make([]image.Descriptor, len(found))
	for i, f := range found {
		manifests[i] = image.Descriptor{MediaType: image.OCI.Manifest(), Digest: f.ID, Platform: &found[i].Platform}
	}
	chosen, err := image.SelectPlatform(manifests, want)
	if err != nil {
		return found[0]
	}
	return found[slices.IndexFunc(found, func(f Found) bool { return f.ID == chosen.Digest })]
}

func (s *Store) findDigest(d image.Digest, text string) (Found, error) {
	if r, ok, err := s.Image(d); err != nil || ok {
		return Found{Record: r}, err
	}
	records, err := s.Records()
	if err != nil {
		return Found{}, err
	}
	for _, r := range records {
		if slices.Contains(r.Manifests, d) {
			return Found{Record: r.as(d)}, nil
		}
	}
	return Found{}, &MissingError{text}
}

func (s *Store) findPrefix(prefix, text string) (Found, bool, error) {
	ids, err := s.ids()
	if err != nil {
		return Found{}, false, err
	}
	ids = slices.DeleteFunc(ids, func(id image.Digest) bool { return !strings.HasPrefix(id.Encoded(), prefix) })
	switch len(ids) {
	case 0:
		return Found{}, false, nil
	case 1:
		r, ok, err := s.Image(ids[0])
		return Found{Record: r}, ok, err
	default:
		return Found{}, false, &AmbiguousError{Text: text, IDs: ids}
	}
}

// Records returns the records of all images, in the order of their IDs.
func (s *Store) Records() ([]Record, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	type maybe struct {
		Record
		ok bool
	}
	all, err := parallel(ids, func(id image.Digest, buf []byte) (maybe, error) {
		r, ok, err := s.image(id, buf)
		return maybe{r, ok}, err
	})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	records := make([]Record, 0, len(all))
	for _, m := range all {
		if m.ok {
			records = append(records, m.Record)
		}
	}
	return records, nil
}

// Listed is an image with all its names.
type Listed struct {
	Record
	Names []Name // empty for an image that nothing names
}

// List returns all images, the newest first.
func (s *Store) List() ([]Listed, error) {
	names, err := s.Names()
	if err != nil {
		return nil, err
	}
	records, err := s.Records()
	if err != nil {
		return nil, err
	}
	byID := map[image.Digest][]Name{}
	for _, n := range names {
		byID[n.ID] = append(byID[n.ID], n)
	}
	all := make([]Listed, len(records))
	for i, r := range records {
		all[i] = Listed{Record: r, Names: byID[r.ID]}
	}
	slices.SortStableFunc(all, func(a, b Listed) int { return b.Made.Compare(a.Made) })
	return all, nil
}
