package registry

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"builder/image"
	"builder/internal/progress"
)

// Found is what a registry has under a name: an index or one manifest, as it is.
type Found struct {
	image.Descriptor
	Bytes []byte
	// Manifests are those of an index; a single manifest is its own, with the
	// platform that its config says.
	Manifests []image.Descriptor

	ref  image.Reference
	repo *remote.Repository
}

// Look reads what a name stands for, without choosing a platform.
func (c *Client) Look(ctx context.Context, ref image.Reference) (*Found, error) {
	var faults error
	for _, e := range c.endpoints(ref) {
		f, err := c.look(ctx, e, ref)
		if err == nil {
			return f, nil
		}
		faults = fmt.Errorf("look at %s: %w", ref.Familiar(), err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, faults
}

func (c *Client) look(ctx context.Context, e endpoint, ref image.Reference) (*Found, error) {
	repo, err := c.repository(e)
	if err != nil {
		return nil, err
	}
	d, data, err := fetchManifest(ctx, repo, ref)
	if err != nil {
		return nil, err
	}
	f := &Found{Descriptor: d, Bytes: data, ref: ref, repo: repo}
	if image.IsIndex(d.MediaType) {
		index, err := image.ParseIndex(d.MediaType, data)
		f.Manifests = index.Manifests
		return f, err
	}
	m, err := image.ParseManifest(d.MediaType, data)
	if err != nil {
		return nil, err
	}
	config, err := fetchSmall(ctx, repo, m.Config, image.MaxConfig, false)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	p, err := image.Unpack(d, data, config)
	f.Manifests = []image.Descriptor{p.Manifest}
	return f, err
}

// Manifest reads the bytes of a manifest of an index.
func (f *Found) Manifest(ctx context.Context, d image.Descriptor) ([]byte, error) {
	return fetchSmall(ctx, f.repo, d, image.MaxManifest, true)
}

// Blob reads a blob that one of the manifests names, of at most limit bytes.
func (f *Found) Blob(ctx context.Context, d image.Descriptor, limit int64) ([]byte, error) {
	return fetchSmall(ctx, f.repo, d, limit, false)
}

// Copy brings manifests and all that they name from the repository where they
// were found to that of another name: by mounting where the registry is the same.
func (c *Client) Copy(ctx context.Context, f *Found, manifests []image.Descriptor, to image.Reference, o PushOptions) error {
	if o.Sink == nil {
		o.Sink = progress.Discard
	}
	repo, err := c.repository(origin(to))
	if err != nil {
		return err
	}
	if f.repo.Reference.Host() == repo.Reference.Host() && f.repo.Reference.Repository == repo.Reference.Repository {
		return nil
	}
	ctx = auth.AppendRepositoryScope(ctx, repo.Reference, auth.ActionPull, auth.ActionPush)
	for _, d := range manifests {
		if err := copyManifest(ctx, f.repo, repo, d, o); err != nil {
			return fmt.Errorf("copy %s from %s: %w", d.Digest, f.ref.Familiar(), explain(err))
		}
	}
	return nil
}

func copyManifest(ctx context.Context, from, to *remote.Repository, d image.Descriptor, o PushOptions) error {
	data, err := fetchSmall(ctx, from, d, image.MaxManifest, true)
	if err != nil {
		return err
	}
	m, err := image.ParseArtifact(d.MediaType, data) // an index may list attestations
	if err != nil {
		return err
	}
	if from.Reference.Host() == to.Reference.Host() {
		o.Known = map[image.Digest]string{}
		for _, b := range append(m.Layers, m.Config) {
			o.Known[b.Digest] = from.Reference.Repository
		}
	}
	for _, b := range append(m.Layers, m.Config) {
		open := func() (io.ReadCloser, error) { return from.Blobs().Fetch(ctx, b) }
		if err := pushBlob(ctx, to, b, open, o); err != nil {
			return err
		}
	}
	return pushManifest(ctx, to, d, data, string(d.Digest))
}

// PushIndex gives an index, whose manifests are there, a name.
func (c *Client) PushIndex(ctx context.Context, ref image.Reference, mediaType string, data []byte) (image.Descriptor, error) {
	d := image.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	repo, err := c.repository(origin(ref))
	if err != nil {
		return d, err
	}
	ctx = auth.AppendRepositoryScope(ctx, repo.Reference, auth.ActionPull, auth.ActionPush)
	if err := pushManifest(ctx, repo, d, data, ref.Tag()); err != nil {
		return d, fmt.Errorf("push %s: %w", ref.Familiar(), explain(err))
	}
	return d, nil
}
