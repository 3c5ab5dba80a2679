package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"builder/image"
	"builder/image/registry"
)

// What BuildKit writes of attestations: in an index, and in their manifests.
const (
	attestationType    = "vnd.docker.reference.type"
	attestationSubject = "vnd.docker.reference.digest"
	attestationKind    = "attestation-manifest"
	statementType      = "application/vnd.in-toto+json"
	predicateType      = "in-toto.io/predicate-type"
)

// maxStatement is the size of an attestation in bytes.
const maxStatement = 64 << 20

// attestations reads what attestations say whose predicate's type begins with
// kind: of one image {name: predicate}, of several that by their platforms. It is
// nil where there are none.
func attestations(ctx context.Context, f *registry.Found, name, kind string) (any, error) {
	images := image.Runnable(f.Manifests)
	all := map[string]map[string]any{}
	for _, d := range f.Manifests {
		if d.Annotations[attestationType] != attestationKind {
			continue
		}
		predicate, ok, err := attestation(ctx, f, d, kind)
		if err != nil {
			return nil, fmt.Errorf("attestation %s: %w", d.Digest, err)
		}
		if !ok {
			continue
		}
		for _, subject := range images {
			if string(subject.Digest) == d.Annotations[attestationSubject] && subject.Platform != nil {
				all[image.FormatPlatform(*subject.Platform)] = map[string]any{name: predicate}
			}
		}
	}
	if len(all) == 0 {
		return nil, nil //nolint:nilnil // none is what there is
	}
	if len(images) == 1 {
		for _, one := range all {
			return one, nil
		}
	}
	return all, nil
}

// attestation reads the first statement of a kind.
func attestation(ctx context.Context, f *registry.Found, d image.Descriptor, kind string) (predicate any, ok bool, err error) {
	data, err := f.Manifest(ctx, d)
	if err != nil {
		return nil, false, err
	}
	m, err := image.ParseArtifact(d.MediaType, data)
	if err != nil {
		return nil, false, err
	}
	for _, l := range m.Layers {
		if l.MediaType != statementType || !strings.HasPrefix(l.Annotations[predicateType], kind) {
			continue
		}
		text, err := f.Blob(ctx, l, maxStatement)
		if err != nil {
			return nil, false, err
		}
		var statement struct {
			Predicate any `json:"predicate"`
		}
		if err := json.Unmarshal(text, &statement); err != nil {
			return nil, false, err
		}
		return statement.Predicate, true, nil
	}
	return nil, false, nil
}
