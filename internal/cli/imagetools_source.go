package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"builder/image"
)

// givenSource is what an index is made of, as it was given: by its name, or by a
// digest or a descriptor, which are of the one repository that is named besides.
type givenSource struct {
	ref        image.Reference
	descriptor image.Descriptor
}

// said reports whether a descriptor says of the image what a registry does not.
func (g givenSource) said() bool {
	return g.descriptor.Platform != nil || len(g.descriptor.Annotations) > 0
}

// describe adds what the descriptor says to what was found.
func (g givenSource) describe(found []image.Descriptor, whole image.Descriptor) []image.Descriptor {
	if !g.said() || image.IsIndex(whole.MediaType) || len(found) != 1 {
		return found
	}
	d := found[0]
	if g.descriptor.Platform != nil {
		d.Platform = g.descriptor.Platform
	}
	annotations := maps.Clone(d.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, g.descriptor.Annotations)
	d.Annotations = annotations
	return []image.Descriptor{d}
}

// maxSourceFile is how long a file with a source may be.
const maxSourceFile = 1 << 20

// given reads the sources: what --append keeps, those in files, then the
// arguments.
func (f *createIndexFlags) given(tags []image.Reference, args []string) ([]givenSource, error) {
	var all []givenSource
	if f.extend {
		all = append(all, givenSource{ref: tags[0]})
	}
	var texts []string
	for _, name := range f.files {
		data, err := readSmall(name, maxSourceFile)
		if err != nil {
			return nil, usage("--file: %v", err)
		}
		texts = append(texts, strings.TrimSpace(string(data)))
	}
	for _, text := range append(texts, args...) {
		g, err := parseSource(text)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	if len(all) == 0 {
		return nil, usage("an index is made of at least one image")
	}
	return all, placed(all, tags)
}

// parseSource reads a source: a digest, a descriptor as JSON, or a name.
func parseSource(text string) (g givenSource, err error) {
	switch {
	case strings.HasPrefix(text, "{"):
		if err := json.Unmarshal([]byte(text), &g.descriptor); err != nil {
			return g, usage("a source is no descriptor: %v", err)
		}
	case strings.HasPrefix(text, "sha256:"):
		g.descriptor.Digest = image.Digest(text)
	default:
		if g.ref, err = image.ParseReference(text); err != nil {
			return g, usage("%v", err)
		}
		return g, nil
	}
	if err := image.CheckDigest(g.descriptor.Digest); err != nil {
		return g, usage("a source has no digest: %v", err)
	}
	return g, nil
}

// placed gives sources that are digests only the one repository that the names
// and the other sources have.
func placed(all []givenSource, tags []image.Reference) error {
	repositories := map[string]image.Reference{}
	for _, t := range tags {
		repositories[t.Name()] = t
	}
	if len(repositories) == 0 {
		for _, g := range all {
			if !g.ref.IsZero() {
				repositories[g.ref.Name()] = g.ref
			}
		}
	}
	for i, g := range all {
		if !g.ref.IsZero() {
			continue
		}
		if len(repositories) != 1 {
			return usage("a digest alone says nothing of its repository, and %d are named", len(repositories)).
				WithHint("write %s", fmt.Sprintf("REPOSITORY@%s", g.descriptor.Digest))
		}
		for _, r := range repositories {
			ref, err := r.WithOnlyDigest(g.descriptor.Digest)
			if err != nil {
				return err
			}
			all[i].ref = ref
		}
	}
	return nil
}
