package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Blobs opens the blobs of a packed image. What it returns reads as the bytes of
// the descriptor or ends with an error.
type Blobs interface {
	Open(ctx context.Context, d Descriptor) (io.ReadCloser, error)
}

// Export is a packed image on its way out of the machine, with the names that it
// gets there.
type Export struct {
	Packed
	References []Reference
	Blobs      Blobs
	// Members are the images that an index is of: Manifest then is the index, and there
	// are no config and no layers.
	Members []Export
}

// Join makes an index of packed images, each with its platform in its descriptor.
func Join(types MediaTypes, members []Export, annotations map[string]string) (Export, error) {
	packed := make([]Packed, len(members))
	for i, m := range members {
		packed[i] = m.Packed
	}
	d, data, err := PackIndex(types, packed, annotations)
	return Export{Packed: Packed{Manifest: d, ManifestBytes: data}, References: members[0].References, Members: members}, err
}

// created returns when an image says that it was created; of an index the last of
// its images.
func (e Export) created() (*time.Time, error) {
	if len(e.Members) == 0 {
		c, err := ParseConfig(e.ConfigBytes)
		return c.Created, err
	}
	var last *time.Time
	for _, m := range e.Members {
		at, err := m.created()
		if err != nil {
			return nil, err
		}
		if at != nil && (last == nil || at.After(*last)) {
			last = at
		}
	}
	return last, nil
}

// What is fixed in a layout:
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md.
const (
	LayoutFile      = ocispec.ImageLayoutFile
	LayoutIndexFile = ocispec.ImageIndexFile
	LayoutVersion   = `{"imageLayoutVersion":"1.0.0"}`

	annotationContainerdName = "io.containerd.image.name"
)

// LayoutPath returns where a layout has a blob.
func LayoutPath(d Digest) string { return "blobs/" + string(d.Algorithm()) + "/" + d.Encoded() }

// LayoutDescriptors returns what index.json says of an image, as BuildKit does:
// a descriptor for each name, with the tag and the full name as annotations, and
// with the time that the image says it was created.
func LayoutDescriptors(e Export) ([]Descriptor, error) {
	created, err := e.created()
	if err != nil {
		return nil, err
	}
	annotations := maps.Clone(e.Manifest.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	if created != nil {
		annotations[ocispec.AnnotationCreated] = created.UTC().Format("2006-01-02T15:04:05Z07:00")
	}
	d := e.Manifest
	if len(e.References) == 0 {
		if len(annotations) > 0 {
			d.Annotations = annotations
		}
		return []Descriptor{d}, nil
	}
	var all []Descriptor
	for _, ref := range e.References {
		d.Annotations = maps.Clone(annotations)
		d.Annotations[annotationContainerdName] = ref.String()
		if ref.Tag() != "" {
			d.Annotations[ocispec.AnnotationRefName] = ref.Tag()
		}
		all = append(all, d)
	}
	return all, nil
}

// LayoutIndex returns an index.json.
func LayoutIndex(manifests []Descriptor) ([]byte, error) {
	x := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests}
	data, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	return data, nil
}

// LayoutName returns the name that index.json gives to an image, if it is one.
// It is a stranger's word.
func LayoutName(d Descriptor) (Reference, bool) {
	for _, key := range []string{annotationContainerdName, ocispec.AnnotationRefName} {
		text := d.Annotations[key]
		// A tag alone says nothing of the repository.
		if text == "" || key == ocispec.AnnotationRefName && !slices.ContainsFunc([]rune(text), func(r rune) bool { return r == '/' || r == ':' }) {
			continue
		}
		if ref, err := ParseReference(text); err == nil {
			return ref, true
		}
	}
	return Reference{}, false
}

// UnpackLayout returns the image that a descriptor of a layout or of an index in
// it stands for; in an index the one that fits want. read returns the verified
// bytes of a blob that is no longer than the descriptor says.
func UnpackLayout(d Descriptor, want Platform, read func(Descriptor) ([]byte, error)) (Packed, error) {
	for depth := 0; ; depth++ {
		if err := CheckManifestType(d.MediaType); err != nil {
			return Packed{}, err
		}
		if err := checkDescriptor(d, MaxManifest); err != nil {
			return Packed{}, err
		}
		data, err := read(d)
		if err != nil {
			return Packed{}, err
		}
		if !IsIndex(d.MediaType) {
			m, err := ParseManifest(d.MediaType, data)
			if err != nil {
				return Packed{}, err
			}
			config, err := read(m.Config)
			if err != nil {
				return Packed{}, fmt.Errorf("config: %w", err)
			}
			d.Annotations = nil
			return Unpack(d, data, config)
		}
		if depth == 1 {
			return Packed{}, fmt.Errorf("index %s is in an index that is in index.json", d.Digest)
		}
		x, err := ParseIndex(d.MediaType, data)
		if err != nil {
			return Packed{}, err
		}
		if d, err = SelectPlatform(x.Manifests, want); err != nil {
			return Packed{}, err
		}
	}
}
