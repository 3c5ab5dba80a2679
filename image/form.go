package image

import (
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Form is how an image looks when it leaves the machine. The zero Form is OCI
// media types with gzip layers. The manifest, and so its digest, is a function
// of image and form.
type Form struct {
	Types       MediaTypes
	Compression Compression
	// Level is the compressor's own; 0 is the default.
	Level int
	// Force packs layers anew that came packed otherwise.
	Force bool
}

// MediaTypes is one of the two vocabularies for the parts of an image.
type MediaTypes uint8

// The vocabularies: https://github.com/opencontainers/image-spec/blob/v1.1.1/media-types.md
// and https://distribution.github.io/distribution/spec/manifest-v2-2/.
const (
	OCI MediaTypes = iota
	Docker
)

// Compression is how a layer's tar is packed.
type Compression uint8

// The compressions.
const (
	Gzip Compression = iota
	Zstd
	Uncompressed
	// EStargz is gzip whose files can be read one by one: a table of contents
	// ends the tar, which so has another diff ID, and the image another config.
	// https://github.com/containerd/stargz-snapshotter/blob/v0.19.1/docs/estargz.md
	EStargz
)

// The media types of docker, schema 2, and those of schema 1, which are refused.
const (
	MediaTypeDockerIndex     = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerConfig    = "application/vnd.docker.container.image.v1+json"
	mediaTypeDockerLayer     = "application/vnd.docker.image.rootfs.diff.tar"
	mediaTypeDockerForeign   = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	mediaTypeDockerSchema1   = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeDockerSchema1JW = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	mediaTypeOCIForeign      = "application/vnd.oci.image.layer.nondistributable.v1.tar"
)

// ParseCompression returns the compression that users call name, as BuildKit's
// outputs do.
func ParseCompression(name string) (Compression, error) {
	for _, c := range []Compression{Gzip, Zstd, Uncompressed, EStargz} {
		if c.String() == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("compression %q is none of gzip, zstd, uncompressed, estargz", name)
}

// String returns the users' word.
func (c Compression) String() string {
	switch c {
	case Gzip:
		return "gzip"
	case Zstd:
		return "zstd"
	case EStargz:
		return "estargz"
	default:
		return "uncompressed"
	}
}

// suffix is what a media type ends with.
func (c Compression) suffix(t MediaTypes) string {
	switch {
	case c == Zstd && t == Docker:
		return ".zstd"
	case c == Zstd:
		return "+zstd"
	case (c == Gzip || c == EStargz) && t == Docker:
		return ".gzip"
	case c == Gzip || c == EStargz:
		return "+gzip"
	default:
		return ""
	}
}

// Index returns the media type of an index.
func (t MediaTypes) Index() string {
	if t == Docker {
		return MediaTypeDockerIndex
	}
	return ocispec.MediaTypeImageIndex
}

// Manifest returns the media type of a manifest.
func (t MediaTypes) Manifest() string {
	if t == Docker {
		return MediaTypeDockerManifest
	}
	return ocispec.MediaTypeImageManifest
}

// Config returns the media type of a config.
func (t MediaTypes) Config() string {
	if t == Docker {
		return MediaTypeDockerConfig
	}
	return ocispec.MediaTypeImageConfig
}

// Layer returns the media type of a layer packed with c.
func (t MediaTypes) Layer(c Compression) string {
	if t == Docker {
		return mediaTypeDockerLayer + c.suffix(t)
	}
	return ocispec.MediaTypeImageLayer + c.suffix(t)
}

// LayerCompression returns how a layer with a media type of either vocabulary is
// packed. ok is false for what is no layer.
func LayerCompression(mediaType string) (c Compression, ok bool) {
	for _, base := range []string{ocispec.MediaTypeImageLayer, mediaTypeOCIForeign, mediaTypeDockerLayer, mediaTypeDockerForeign} {
		rest, found := strings.CutPrefix(mediaType, base)
		if !found {
			continue
		}
		switch rest {
		case "":
			return Uncompressed, true
		case "+gzip", ".gzip":
			return Gzip, true
		case "+zstd", ".zstd":
			return Zstd, true
		}
	}
	return 0, false
}

// Received returns the descriptor under which a layer's blob goes into an image
// of this form as it was received, and false where it has to be packed anew:
// where the form's tars are not compressed, or where docker's vocabulary has no
// word for the blob's compression, and where the form is forced upon one that is
// packed otherwise.
func (f Form) Received(l Layer) (Descriptor, bool) {
	if l.Blob == nil {
		return Descriptor{}, false
	}
	c, ok := LayerCompression(l.Blob.MediaType)
	if !ok || (f.Force || f.Compression == Uncompressed) && c != f.Compression || f.Types == Docker && c == Zstd && f.Compression != Zstd {
		return Descriptor{}, false
	}
	d := Descriptor{MediaType: f.Types.Layer(c), Digest: l.Blob.Digest, Size: l.Blob.Size}
	if f.Types == OCI {
		d.Annotations = l.Blob.Annotations // of an eStargz layer, where its table of contents is
	}
	return d, true
}

// String returns the form in one word, such as "oci+gzip".
func (f Form) String() string {
	name := "oci+"
	if f.Types == Docker {
		name = "docker+"
	}
	name += f.Compression.String()
	if f.Level != 0 {
		name += fmt.Sprintf("-%d", f.Level)
	}
	return name
}
