package cli

import (
	"context"
	"slices"

	"builder/image"
)

// exports returns what save writes of its arguments: each image once, with all
// the names that were given.
func (m *machine) exports(ctx context.Context, args []string, wants []image.Platform, docker bool) ([]image.Export, error) {
	var all []image.Export
	for _, arg := range args {
		names, err := m.saved(arg)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			e, err := m.packedFor(ctx, name, wants, docker)
			if err != nil {
				return nil, err
			}
			all = added(all, e)
		}
	}
	return all, nil
}

// added adds an image to those that are saved, or its names where it is there.
func added(all []image.Export, e image.Export) []image.Export {
	i := slices.IndexFunc(all, func(other image.Export) bool { return other.Manifest.Digest == e.Manifest.Digest })
	if i < 0 {
		return append(all, e)
	}
	for _, ref := range e.References {
		if !slices.Contains(all[i].References, ref) {
			all[i].References = append(all[i].References, ref)
		}
	}
	return all
}

// saved returns the names that an argument of save means: a repository without a
// tag is all of its tags, as with docker.
func (m *machine) saved(arg string) ([]string, error) {
	ref, err := image.ParseReference(arg)
	if err != nil || !tagless(arg) {
		return []string{arg}, nil //nolint:nilerr // it may be an ID
	}
	all, err := m.store.Names()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range all {
		if n.Reference.Name() == ref.Name() && n.Reference.Tag() != "" && !slices.Contains(names, n.Reference.String()) {
			names = append(names, n.Reference.String())
		}
	}
	if len(names) == 0 {
		return []string{arg}, nil
	}
	return names, nil
}
