package image

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
)

// SelectPlatform returns the manifest of an index that fits want best, by
// containerd's rules: the platform itself, else one that its processors run too
// (arm/v7 for arm64, 386 for amd64). A manifest that names no platform fits any,
// after all others.
func SelectPlatform(manifests []Descriptor, want Platform) (Descriptor, error) {
	fits := platforms.Only(want)
	var found []Descriptor
	var others []string
	for _, d := range Runnable(manifests) {
		switch {
		case d.Platform == nil || fits.Match(*d.Platform):
			found = append(found, d)
		default:
			others = append(others, FormatPlatform(*d.Platform))
		}
	}
	if len(found) == 0 {
		return Descriptor{}, fmt.Errorf("there is no image for %s, only for %s", FormatPlatform(want), list(others))
	}
	slices.SortStableFunc(found, func(a, b Descriptor) int {
		switch {
		case a.Platform == nil && b.Platform == nil:
			return 0
		case a.Platform == nil:
			return 1
		case b.Platform == nil:
			return -1
		case fits.Less(*a.Platform, *b.Platform):
			return -1
		case fits.Less(*b.Platform, *a.Platform):
			return 1
		default:
			return 0
		}
	})
	return found[0], nil
}

// MatchPlatform reports whether what is made for have runs where want is asked for.
func MatchPlatform(want, have Platform) bool { return platforms.Only(want).Match(have) }

// FormatPlatform returns a platform as os/architecture[/variant].
func FormatPlatform(p Platform) string {
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
