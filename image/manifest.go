package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a stranger's image may be at most. Real ones stay below by far.
const (
	// MaxManifest is the size of a manifest or an index in bytes.
	MaxManifest = 4 << 20
	// MaxConfig is the size of a config in bytes.
	MaxConfig = 8 << 20

	maxLayers    = 4096
	maxManifests = 1024
)

// Packed is an image in one form: all that a registry, a layout or an archive
// holds of it but the bytes of its layers.
type Packed struct {
	// Manifest describes ManifestBytes; its Platform is what an index says of it.
	Manifest      Descriptor
	ManifestBytes []byte
	Config        Descriptor
	ConfigBytes   []byte
	Layers        []Descriptor // lowest first
	DiffIDs       []Digest     // of Layers
}

// Pack makes the manifest of an image from its config and its layers in a form.
// manifest has the annotations.
func Pack(types MediaTypes, config []byte, layers []Descriptor, annotations map[string]string) (Packed, error) {
	c, err := ParseConfig(config)
	if err != nil {
		return Packed{}, err
	}
	if len(layers) != len(c.RootFS.DiffIDs) {
		return Packed{}, fmt.Errorf("image has %d layers and a config for %d", len(layers), len(c.RootFS.DiffIDs))
	}
	m := ocispec.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   types.Manifest(),
		Config:      describe(types.Config(), config),
		Layers:      layers,
		Annotations: annotations,
	}
	if m.Layers == nil {
		m.Layers = []Descriptor{}
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return Packed{}, fmt.Errorf("manifest: %w", err)
	}
	p := Packed{Manifest: describe(types.Manifest(), data), ManifestBytes: data, Config: m.Config, ConfigBytes: config, Layers: m.Layers, DiffIDs: c.RootFS.DiffIDs}
	platform := c.Platform()
	p.Manifest.Platform = &platform
	return p, nil
}

// Unpack joins a manifest and a config that arrived from elsewhere. Neither is
// believed: their digests must be what the caller asked for already, and what
// they say must agree.
func Unpack(manifest Descriptor, manifestBytes, config []byte) (Packed, error) {
	m, err := ParseManifest(manifest.MediaType, manifestBytes)
	if err != nil {
		return Packed{}, err
	}
	c, err := ParseConfig(config)
	if err != nil {
		return Packed{}, err
	}
	if len(m.Layers) != len(c.RootFS.DiffIDs) {
		return Packed{}, fmt.Errorf("manifest %s has %d layers, its config has %d", manifest.Digest, len(m.Layers), len(c.RootFS.DiffIDs))
	}
	if manifest.Platform == nil {
		platform := c.Platform()
		manifest.Platform = &platform
	}
	return Packed{Manifest: manifest, ManifestBytes: manifestBytes, Config: m.Config, ConfigBytes: config, Layers: m.Layers, DiffIDs: c.RootFS.DiffIDs}, nil
}

// Image returns what was packed, with foreign layers.
func (p Packed) Image() (Image, error) {
	config, err := ParseConfig(p.ConfigBytes)
	if err != nil {
		return Image{}, err
	}
	img := Image{Config: config}
	for i, diffID := range p.DiffIDs {
		blob := Descriptor{MediaType: p.Layers[i].MediaType, Digest: p.Layers[i].Digest, Size: p.Layers[i].Size, Annotations: p.Layers[i].Annotations}
		img.Layers = append(img.Layers, Layer{Content: ForeignContent(diffID), DiffID: diffID, Blob: &blob})
	}
	return img, nil
}

// ID returns the image's ID: the digest of its config.
func (p Packed) ID() Digest { return p.Config.Digest }

// IsIndex reports whether a media type is that of an index.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == MediaTypeDockerIndex
}

// IsManifest reports whether a media type is that of an image's manifest.
func IsManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == MediaTypeDockerManifest
}

// CheckManifestType says what is wrong with a media type where an image's
// manifest or an index is expected.
func CheckManifestType(mediaType string) error {
	switch {
	case IsIndex(mediaType), IsManifest(mediaType):
		return nil
	case mediaType == mediaTypeDockerSchema1, mediaType == mediaTypeDockerSchema1JW:
		return fmt.Errorf("manifest is of docker's schema 1 (%s), which is not supported: push the image again with a current tool", mediaType)
	default:
		return fmt.Errorf("media type %q is not that of an image", mediaType)
	}
}

// ParseManifest parses and checks the manifest of an image. Digests and sizes
// in it are well-formed; nothing else is known of them.
func ParseManifest(mediaType string, data []byte) (ocispec.Manifest, error) {
	m, err := ParseArtifact(mediaType, data)
	if err != nil {
		return m, err
	}
	if m.Config.MediaType != ocispec.MediaTypeImageConfig && m.Config.MediaType != MediaTypeDockerConfig {
		return m, fmt.Errorf("manifest: its config is of type %q: it is no image to be run", m.Config.MediaType)
	}
	for i, l := range m.Layers {
		if _, ok := LayerCompression(l.MediaType); !ok {
			return m, fmt.Errorf("manifest: layer %d: media type %q is not that of a layer", i, l.MediaType)
		}
	}
	return m, nil
}

// ParseArtifact is [ParseManifest] for what is no image, such as attestations: its
// config and layers may be of any type.
func ParseArtifact(mediaType string, data []byte) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := parse(mediaType, data, &m, &m.Versioned, &m.MediaType); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	if !IsManifest(mediaType) {
		return m, fmt.Errorf("manifest: %w", CheckManifestType(mediaType))
	}
	if err := checkDescriptor(m.Config, MaxConfig); err != nil {
		return m, fmt.Errorf("manifest: config: %w", err)
	}
	if len(m.Layers) > maxLayers {
		return m, fmt.Errorf("manifest: %d layers are more than %d", len(m.Layers), maxLayers)
	}
	for i, l := range m.Layers {
		if err := checkDescriptor(l, 1<<62); err != nil {
			return m, fmt.Errorf("manifest: layer %d: %w", i, err)
		}
	}
	return m, nil
}

// ParseIndex parses and checks an index.
func ParseIndex(mediaType string, data []byte) (ocispec.Index, error) {
	var x ocispec.Index
	if err := parse(mediaType, data, &x, &x.Versioned, &x.MediaType); err != nil {
		return x, fmt.Errorf("index: %w", err)
	}
	if !IsIndex(mediaType) {
		return x, fmt.Errorf("index: %w", CheckManifestType(mediaType))
	}
	if len(x.Manifests) > maxManifests {
		return x, fmt.Errorf("index: %d manifests are more than %d", len(x.Manifests), maxManifests)
	}
	for i, d := range x.Manifests {
		if err := checkDescriptor(d, MaxManifest); err != nil {
			return x, fmt.Errorf("index: manifest %d: %w", i, err)
		}
	}
	return x, nil
}

// ParseConfig parses and checks an image's config.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	if len(data) > MaxConfig {
		return c, fmt.Errorf("config: %d bytes are more than %d", len(data), MaxConfig)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("config: %w", err)
	}
	if c.RootFS.Type != "" && c.RootFS.Type != "layers" {
		return c, fmt.Errorf("config: rootfs type %q is not \"layers\"", c.RootFS.Type)
	}
	if len(c.RootFS.DiffIDs) > maxLayers {
		return c, fmt.Errorf("config: %d layers are more than %d", len(c.RootFS.DiffIDs), maxLayers)
	}
	for i, d := range c.RootFS.DiffIDs {
		if err := checkDigest(d); err != nil {
			return c, fmt.Errorf("config: layer %d: %w", i, err)
		}
	}
	return c, nil
}

// CheckDigest says what is wrong with a digest that came from elsewhere. One
// that passes is safe to be part of a file name.
func CheckDigest(d Digest) error { return checkDigest(d) }

// parse decodes a manifest or index. A type inside must be the one outside, so
// that one document never means two things (CVE-2021-41190).
func parse(mediaType string, data []byte, v any, version *specs.Versioned, inside *string) error {
	if len(data) > MaxManifest {
		return fmt.Errorf("%d bytes are more than %d", len(data), MaxManifest)
	}
	var both struct {
		Config, Layers, Manifests json.RawMessage
	}
	if err := json.Unmarshal(data, &both); err != nil {
		return err
	}
	if len(both.Manifests) > 0 && !bytes.Equal(both.Manifests, []byte("null")) && (len(both.Layers) > 0 || len(both.Config) > 0) {
		return fmt.Errorf("it is both a manifest and an index")
	}
	if err := json.Unmarshal(data, v); err != nil {
		return err
	}
	if version.SchemaVersion == 1 {
		return CheckManifestType(mediaTypeDockerSchema1)
	}
	if version.SchemaVersion != 2 {
		return fmt.Errorf("schema version %d is not 2", version.SchemaVersion)
	}
	if *inside != "" && *inside != mediaType {
		return fmt.Errorf("media type is %q outside and %q inside", mediaType, *inside)
	}
	return nil
}

func checkDescriptor(d Descriptor, limit int64) error {
	if err := checkDigest(d.Digest); err != nil {
		return err
	}
	if d.Size < 0 || d.Size > limit {
		return fmt.Errorf("size %d is not from 0 to %d", d.Size, limit)
	}
	return nil
}

func describe(mediaType string, data []byte) Descriptor {
	return Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// PackIndex makes an index of packed images, in their order.
func PackIndex(types MediaTypes, images []Packed, annotations map[string]string) (Descriptor, []byte, error) {
	x := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: types.Index(), Annotations: annotations, Manifests: []Descriptor{}}
	for _, p := range images {
		x.Manifests = append(x.Manifests, p.Manifest)
	}
	data, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return Descriptor{}, nil, fmt.Errorf("index: %w", err)
	}
	return describe(types.Index(), data), data, nil
}

// Runnable returns the manifests of an index that are images: attestations and
// the like, of platform unknown/unknown, are left out.
func Runnable(manifests []Descriptor) []Descriptor {
	return slices.DeleteFunc(slices.Clone(manifests), func(d Descriptor) bool {
		p := d.Platform
		return !IsManifest(d.MediaType) || p != nil && p.OS == "unknown" && p.Architecture == "unknown"
	})
}
