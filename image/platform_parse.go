package image

import (
	"fmt"

	"github.com/containerd/platforms"
)

// ParsePlatform reads a platform as users write it: os/arch[/variant], or one
// of the two. It is returned in normal form: "linux/x86_64" is linux/amd64.
func ParsePlatform(text string) (Platform, error) {
	p, err := platforms.Parse(text)
	if err != nil {
		return Platform{}, fmt.Errorf("%q is not a platform: write os/architecture[/variant], such as linux/arm64", text)
	}
	return platforms.Normalize(p), nil
}

// DefaultPlatform is the platform of this machine.
func DefaultPlatform() Platform {
	p := platforms.Normalize(platforms.DefaultSpec())
	return Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}
