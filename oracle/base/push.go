package base

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push uploads all images to the registry at addr (host:port, plain http).
func (s *Set) Push(ctx context.Context, addr string) error {
	for _, n := range s.Names() {
		ref, err := name.ParseReference(addr+"/"+n, name.Insecure)
		if err != nil {
			return fmt.Errorf("push %s: %w", n, err)
		}
		if img, ok := s.images[n]; ok {
			err = remote.Write(ref, img, remote.WithContext(ctx))
		} else {
			err = remote.WriteIndex(ref, s.indexes[n], remote.WithContext(ctx))
		}
		if err != nil {
			return fmt.Errorf("push %s: %w", n, err)
		}
	}
	return nil
}
