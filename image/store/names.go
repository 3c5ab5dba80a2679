package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"builder/image"
	"builder/internal/sys"
)

// Name is a name of an image: a reference with either a tag or a digest. One
// reference may name several images, each for another platform.
type Name struct {
	Reference image.Reference
	ID        image.Digest
	Platform  image.Platform
	// Manifest is the manifest or index that a registry has under the name, and
	// empty where it is not known to have one.
	Manifest image.Digest
}

// namesHeader begins each file of names and is followed by the sha256 of the
// rest: the repository's full name on a line of its own, then a line for each name
// (tag or "@" and digest, platform, ID, manifest or "-"), sorted.
const namesHeader = "builder names 1 "

// namesPath returns the file of a repository's names. "!" stands for "/", which
// no name has: all repositories are read with one walk of one directory.
func (s *Store) namesPath(repository string) string {
	return filepath.Join(s.dir, "names", strings.ReplaceAll(repository, "/", "!"))
}

// Tag gives an image a name. A tag that named other images names only this one
// then, except that images for other platforms of one index stay. It returns
// what the name meant for this platform before, or "". The image has to be here.
func (s *Store) Tag(ctx context.Context, n Name) (before image.Digest, err error) {
	return s.tag(ctx, n, func(Name) error { return nil })
}

// tag is Tag, which may is asked about for each name that it takes over.
func (s *Store) tag(ctx context.Context, n Name, may func(old Name) error) (before image.Digest, err error) {
	if err := checkName(n); err != nil {
		return "", err
	}
	// While its record is locked the image stays.
	unlock, err := s.lock(ctx, s.recordPath(n.ID)+".lock", nil)
	if err != nil {
		return "", fmt.Errorf("tag %s: %w", n.Reference.Familiar(), err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, ok, err := s.Image(n.ID); err != nil || !ok {
		return "", fmt.Errorf("tag %s: image %s: %w", n.Reference.Familiar(), n.ID, cmp.Or(err, ErrNotFound))
	}
	var refused error
	err = s.change(ctx, n.Reference.Name(), func(names []Name) []Name {
		for _, old := range names {
			if old.Reference == n.Reference && refused == nil {
				refused = may(old)
			}
		}
		if refused != nil {
			return names
		}
		kept := names[:0]
		for _, old := range names {
			same := old.Reference == n.Reference
			platform := image.FormatPlatform(old.Platform) == image.FormatPlatform(n.Platform)
			if same && (platform || before == "") {
				before = old.ID
			}
			together := n.Manifest != "" && old.Manifest == n.Manifest && !platform
			if !same || together {
				kept = append(kept, old)
			}
		}
		return append(kept, n)
	})
	if err = cmp.Or(err, refused); err != nil {
		return "", fmt.Errorf("tag %s: %w", n.Reference.Familiar(), err)
	}
	return before, nil
}

func checkName(n Name) error {
	if n.Reference.IsZero() || (n.Reference.Tag() == "") == (n.Reference.Digest() == "") {
		return fmt.Errorf("tag %q: a name has either a tag or a digest", n.Reference)
	}
	if err := image.CheckDigest(n.ID); err != nil {
		return fmt.Errorf("tag %s: %w", n.Reference.Familiar(), err)
	}
	return nil
}

// TagAll gives a name to images for several platforms, in the place of all that it
// named. The images have to be here.
func (s *Store) TagAll(ctx context.Context, names []Name) error {
	ref := names[0].Reference
	for _, n := range names {
		if err := checkName(n); err != nil {
			return err
		}
		if _, ok, err := s.Image(n.ID); err != nil || !ok {
			return fmt.Errorf("tag %s: image %s: %w", ref.Familiar(), n.ID, cmp.Or(err, ErrNotFound))
		}
	}
	err := s.change(ctx, ref.Name(), func(old []Name) []Name {
		return append(slices.DeleteFunc(old, func(n Name) bool { return n.Reference == ref }), names...)
	})
	if err != nil {
		return fmt.Errorf("tag %s: %w", ref.Familiar(), err)
	}
	return nil
}

// LookupAll returns the images that a name stands for, one for each platform.
func (s *Store) LookupAll(_ context.Context, ref image.Reference) ([]Found, error) {
	names, err := s.repository(ref.Name(), make([]byte, smallFile))
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", ref.Familiar(), err)
	}
	var found []Found
	for _, n := range names {
		if n.Reference != ref {
			continue
		}
		r, ok, err := s.Image(n.ID)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", ref.Familiar(), err)
		}
		if ok {
			found = append(found, Found{Record: r.as(n.Manifest), Name: n})
		}
	}
	return found, nil
}

// Untag takes a name away, for all platforms, and returns what it named.
func (s *Store) Untag(ctx context.Context, ref image.Reference) (removed []Name, err error) {
	return s.untag(ctx, ref, func(Name) bool { return true })
}

// untag is Untag of those that fit.
func (s *Store) untag(ctx context.Context, ref image.Reference, fits func(Name) bool) (removed []Name, err error) {
	err = s.change(ctx, ref.Name(), func(names []Name) []Name {
		return slices.DeleteFunc(names, func(n Name) bool {
			gone := n.Reference == ref && fits(n)
			if gone {
				removed = append(removed, n)
			}
			return gone
		})
	})
	if err != nil {
		return nil, fmt.Errorf("untag %s: %w", ref.Familiar(), err)
	}
	return removed, nil
}

// Names returns all names, sorted by their full form.
func (s *Store) Names() ([]Name, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "names"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list names: %w", err)
	}
	all, err := parallel(entries, func(e fs.DirEntry, buf []byte) ([]Name, error) {
		return s.repository(strings.ReplaceAll(e.Name(), "!", "/"), buf)
	})
	if err != nil {
		return nil, fmt.Errorf("list names: %w", err)
	}
	return slices.Concat(all...), nil
}

// parallel reads many small files, each by its entry, into buffers that are used
// again, and returns what they hold in the order of the entries.
func parallel[E, T any](entries []E, read func(e E, buf []byte) (T, error)) ([]T, error) {
	const some = 64
	all := make([]T, len(entries))
	var g errgroup.Group
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for start := 0; start < len(entries); start += some {
		g.Go(func() error {
			buf := make([]byte, smallFile)
			for i := start; i < min(start+some, len(entries)); i++ {
				var err error
				if all[i], err = read(entries[i], buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all, g.Wait()
}

// repository returns the names in one repository. A torn file has none.
// buf is room to read it into.
func (s *Store) repository(repository string, buf []byte) ([]Name, error) {
	data, err := sys.ReadFile(s.namesPath(repository), buf)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	body, ok, err := unseal(namesHeader, data)
	if err != nil {
		return nil, fmt.Errorf("names of %s: %w", repository, err)
	}
	if !ok {
		return nil, nil
	}
	return parseNames(repository, string(body))
}

func parseNames(repository, body string) ([]Name, error) {
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	if lines[0] != repository {
		return nil, fmt.Errorf("names of %s: the file says that they are those of %s", repository, lines[0])
	}
	base, err := image.ParseReference(repository)
	if err != nil {
		return nil, err
	}
	names := make([]Name, 0, len(lines)-1)
	for _, line := range lines[1:] {
		f := strings.Split(line, " ")
		if len(f) != 4 {
			return nil, fmt.Errorf("names of %s: %q is no name", repository, line)
		}
		n := Name{Platform: parsePlatform(f[1]), ID: image.Digest(f[2])}
		if f[3] != "-" {
			n.Manifest = image.Digest(f[3])
		}
		if d, ok := strings.CutPrefix(f[0], "@"); ok {
			n.Reference, err = base.WithOnlyDigest(image.Digest(d))
		} else {
			n.Reference, err = base.WithTag(f[0])
		}
		if err != nil {
			return nil, fmt.Errorf("names of %s: %w", repository, err)
		}
		names = append(names, n)
	}
	return names, nil
}

func formatNames(repository string, names []Name) []byte {
	lines := make([]string, len(names))
	for i, n := range names {
		key, manifest := n.Reference.Tag(), string(n.Manifest)
		if key == "" {
			key = "@" + string(n.Reference.Digest())
		}
		if manifest == "" {
			manifest = "-"
		}
		lines[i] = fmt.Sprintf("%s %s %s %s\n", key, image.FormatPlatform(n.Platform), n.ID, manifest)
	}
	slices.Sort(lines)
	return []byte(repository + "\n" + strings.Join(lines, ""))
}

func parsePlatform(text string) image.Platform {
	f := append(strings.SplitN(text, "/", 3), "", "")
	return image.Platform{OS: f[0], Architecture: f[1], Variant: f[2]}
}

// change rewrites the names of a repository under its lock. A repository without
// names has no file.
func (s *Store) change(ctx context.Context, repository string, edit func([]Name) []Name) (err error) {
	path := s.namesPath(repository)
	// The file is its own lock: it is replaced, and who waited for the one before
	// begins anew.
	f, err := lockFile(ctx, path, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	names, err := s.repository(repository, make([]byte, smallFile))
	if err != nil {
		return err
	}
	if names = edit(names); len(names) == 0 {
		return os.Remove(path)
	}
	return s.replace(path, seal(namesHeader, formatNames(repository, names)))
}
