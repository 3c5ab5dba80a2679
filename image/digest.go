package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Digest names bytes by their hash, as "sha256:…".
type Digest = digest.Digest

// Descriptor refers to a blob: media type, digest, size.
type Descriptor = ocispec.Descriptor

// Platform is what an image runs on: operating system, architecture, variant.
type Platform = ocispec.Platform

// ContentDigest names what a layer holds: the paths, types, modes, owners,
// xattrs, link targets and file contents that it adds and the paths that it
// removes, without any time. The zero value names nothing.
type ContentDigest [sha256.Size]byte

// ForeignContent returns the identity of a layer that was made elsewhere. Its
// bytes are its content: two foreign layers are equal if their diff IDs are.
func ForeignContent(diffID Digest) ContentDigest {
	return sha256.Sum256([]byte("foreign layer\x00" + string(diffID)))
}

// ParseContentDigest parses what [ContentDigest.String] returned.
func ParseContentDigest(s string) (ContentDigest, error) {
	var d ContentDigest
	if len(s) != 2*len(d) {
		return d, fmt.Errorf("content digest %q: want %d hexadecimal digits", s, 2*len(d))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return d, fmt.Errorf("content digest %q: %w", s, err)
	}
	return d, nil
}

// String returns the digest as hexadecimal digits.
func (d ContentDigest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d names nothing.
func (d ContentDigest) IsZero() bool { return d == ContentDigest{} }

// MarshalText implements [encoding.TextMarshaler].
func (d ContentDigest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *ContentDigest) UnmarshalText(text []byte) error {
	parsed, err := ParseContentDigest(string(text))
	*d = parsed
	return err
}
