package image

import (
	"encoding/json"
	"fmt"
	"slices"

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

// WithDiffIDs returns a config with other layers: the bytes as they are where
// these are its own, else all that it says in the order of its keys.
func WithDiffIDs(config []byte, diffIDs []Digest) ([]byte, error) {
	c, err := ParseConfig(config)
	if err != nil || slices.Equal(c.RootFS.DiffIDs, diffIDs) {
		return config, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(config, &all); err != nil {
		return nil, fmt.Errorf("image config: %w", err)
	}
	c.RootFS.DiffIDs = diffIDs
	if all["rootfs"], err = json.Marshal(c.RootFS); err != nil {
		return nil, fmt.Errorf("image config: %w", err)
	}
	return json.Marshal(all)
}
