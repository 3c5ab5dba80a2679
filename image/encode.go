package image

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Encode returns the config as the JSON whose digest is the image ID. The same
// config always gives the same bytes.
func (c *Config) Encode() ([]byte, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode image config: %w", err)
	}
	return data, nil
}

// ID returns the digest of an image's config, which names it whatever form its
// layers are stored in.
func ID(img *Image) (Digest, error) {
	data, err := img.Config.Encode()
	if err != nil {
		return "", err
	}
	return digest.FromBytes(data), nil
}
