package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry/remote"

	"builder/image"
)

// Remote is an image in a registry.
type Remote struct {
	image.Packed
	// Reference is the name that was asked for, pinned to Digest.
	Reference image.Reference
	// Digest is what the registry has under the name: of an index, or of the
	// image's manifest. IndexBytes is the index, where it is one.
	Digest     image.Digest
	IndexBytes []byte

	client *Client
	from   []endpoint // where it was found, then the rest
}

// Resolve finds out what a name means and reads the manifest and the config of
// the image that fits want. The zero want takes an image whose index has no
// other. A name with a digest is asked for by the digest alone. A manifest that
// stands alone is taken for whatever platform it is.
func (c *Client) Resolve(ctx context.Context, ref image.Reference, want image.Platform) (*Remote, error) {
	all := c.endpoints(ref)
	var faults []error
	for i, e := range all {
		r, err := c.resolve(ctx, e, ref, want)
		if err == nil {
			r.from = append([]endpoint{e}, append(append([]endpoint{}, all[:i]...), all[i+1:]...)...)
			return r, nil
		}
		if len(all) > 1 {
			err = fmt.Errorf("from %s: %w", e.host, err)
		}
		faults = append(faults, err)
		if ctx.Err() != nil {
			break
		}
	}
	// The registry itself has the last word; what mirrors said comes after it.
	last := len(faults) - 1
	err := faults[last]
	for _, f := range faults[:last] {
		err = fmt.Errorf("%w; %w", err, f)
	}
	return nil, fmt.Errorf("resolve %s: %w", ref.Familiar(), err)
}

func (c *Client) resolve(ctx context.Context, e endpoint, ref image.Reference, want image.Platform) (*Remote, error) {
	repo, err := c.repository(e)
	if err != nil {
		return nil, err
	}
	found, data, err := fetchManifest(ctx, repo, ref)
	if err != nil {
		return nil, err
	}
	r := &Remote{Digest: found.Digest, client: c}
	if r.Reference, err = ref.WithDigest(found.Digest); err != nil {
		return nil, err
	}
	if image.IsIndex(found.MediaType) {
		index, err := image.ParseIndex(found.MediaType, data)
		if err != nil {
			return nil, err
		}
		r.IndexBytes = data
		if found, err = image.SelectPlatform(index.Manifests, want); err != nil {
			return nil, err
		}
		if data, err = fetchSmall(ctx, repo, found, image.MaxManifest, true); err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
	}
	m, err := image.ParseManifest(found.MediaType, data)
	if err != nil {
		return nil, err
	}
	config, err := fetchSmall(ctx, repo, m.Config, image.MaxConfig, false)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	r.Packed, err = image.Unpack(found, data, config)
	return r, err
}

// fetchManifest reads what a name stands for. The digest is that of the bytes.
func fetchManifest(ctx context.Context, repo *remote.Repository, ref image.Reference) (image.Descriptor, []byte, error) {
	asked := ref.Tag()
	if ref.Digest() != "" {
		asked = string(ref.Digest())
	}
	var d image.Descriptor
	var data []byte
	err := again(ctx, func() error {
		found, body, err := repo.Manifests().FetchReference(ctx, asked)
		if err != nil {
			return explain(err)
		}
		defer body.Close()
		d = found
		if err := image.CheckManifestType(d.MediaType); err != nil {
			return err
		}
		data, err = io.ReadAll(io.LimitReader(body, image.MaxManifest+1))
		return broken(err)
	})
	if err != nil {
		return d, nil, fmt.Errorf("manifest: %w", err)
	}
	if len(data) > image.MaxManifest {
		return d, nil, fmt.Errorf("manifest has more than %d bytes", image.MaxManifest)
	}
	got := image.Descriptor{MediaType: d.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if got.Digest != d.Digest || ref.Digest() != "" && got.Digest != ref.Digest() {
		return d, nil, fmt.Errorf("manifest arrived with digest %s, not %s", got.Digest, d.Digest)
	}
	return got, data, nil
}

// fetchSmall reads a manifest or a config by its digest, which is verified.
func fetchSmall(ctx context.Context, repo *remote.Repository, d image.Descriptor, limit int64, manifest bool) ([]byte, error) {
	if d.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", d.Digest, d.Size, limit)
	}
	fetch := repo.Blobs().Fetch
	if manifest {
		fetch = repo.Manifests().Fetch
	}
	var data []byte
	err := again(ctx, func() error {
		body, err := fetch(ctx, d)
		if err != nil {
			return explain(err)
		}
		defer body.Close()
		data, err = io.ReadAll(io.LimitReader(body, d.Size+1))
		return broken(err)
	})
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(data); int64(len(data)) != d.Size || got != d.Digest {
		return nil, fmt.Errorf("%s arrived with %d bytes, not %d, and digest %s", d.Digest, len(data), d.Size, got)
	}
	return data, nil
}

// brokenError is an answer that broke off.
type brokenError struct{ error }

func (e brokenError) Unwrap() error { return e.error }

func broken(err error) error {
	if err == nil {
		return nil
	}
	return brokenError{err}
}

// again repeats what ends with an answer that broke off. Other failures were
// tried often enough below, or are final.
func again(ctx context.Context, do func() error) error {
	for failures := 1; ; failures++ {
		err := do()
		if _, ok := errors.AsType[brokenError](err); !ok || failures >= tries {
			return err
		}
		if err := pause(ctx, firstPause<<failures); err != nil {
			return err
		}
	}
}
