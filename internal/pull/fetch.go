package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"builder/image"
	"builder/image/store"
	"builder/internal/progress"
)

// Resolved is what a registry says of a name.
type Resolved struct {
	// Digest is that of the manifest or index that the name stands for.
	Digest image.Digest
	// Manifest describes the manifest for the platform; Config is the JSON of its
	// config, Layers are the blobs, lowest first.
	Manifest image.Descriptor
	Config   []byte
	Layers   []image.Descriptor
}

// Remote is a registry, as far as pulling needs one.
type Remote interface {
	// Resolve asks what a name stands for on a platform.
	Resolve(ctx context.Context, ref image.Reference, platform image.Platform) (Resolved, error)
	// Blob opens a blob of the reference's repository from an offset on.
	Blob(ctx context.Context, ref image.Reference, d image.Descriptor, from int64) (io.ReadCloser, error)
}

// parallel is how many layers are downloaded at a time.
const parallel = 3

// ask resolves a name in its registry and records what it stands for.
func (p *Puller) ask(ctx context.Context, ref image.Reference, platform image.Platform, v progress.Vertex) (img Image, err error) {
	p.progress.Progress(progress.Started{Vertex: v, Time: time.Now()})
	defer func() { p.progress.Progress(progress.Finished{Vertex: v, Err: err, Time: time.Now()}) }()
	r, err := p.remote.Resolve(ctx, ref, platform)
	if err != nil {
		return img, err
	}
	c, err := image.ParseConfig(r.Config)
	if err != nil {
		return img, err
	}
	if len(c.RootFS.DiffIDs) != len(r.Layers) {
		return img, fmt.Errorf("the manifest has %d layers and the config %d", len(r.Layers), len(c.RootFS.DiffIDs))
	}
	layers := make([]image.Layer, len(r.Layers))
	for i := range layers {
		id := c.RootFS.DiffIDs[i]
		layers[i] = image.Layer{Content: image.ForeignContent(id), DiffID: id, Blob: &r.Layers[i]}
	}
	pinned, err := ref.WithDigest(r.Digest)
	if err != nil {
		return img, err
	}
	rec, err := p.store.Add(ctx, store.Record{
		Layers: layers, Manifests: []image.Digest{r.Manifest.Digest}, Origin: store.FromPull, Source: pinned.String(), Made: time.Now(),
	}, r.Config)
	if err != nil {
		return img, err
	}
	name := ref
	if ref.Digest() != "" {
		if name, err = ref.WithOnlyDigest(ref.Digest()); err != nil {
			return img, err
		}
	}
	_, err = p.store.Tag(ctx, store.Name{Reference: name, ID: rec.ID, Platform: rec.Platform, Manifest: r.Digest})
	return Image{Digest: r.Digest, Record: rec, Config: c}, err
}

// fetch downloads the blobs of an image that are not here.
func (p *Puller) fetch(ctx context.Context, rec store.Record, v progress.Vertex) (err error) {
	var missing []image.Descriptor
	for _, l := range rec.Layers {
		if l.Blob == nil {
			continue
		}
		if size, ok := p.store.Stat(l.Blob.Digest); !ok || size != l.Blob.Size {
			missing = append(missing, *l.Blob)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if rec.Source == "" {
		return fmt.Errorf("layer %s of image %s is gone and no registry is recorded to fetch it from: %w", missing[0].Digest, rec.ID, store.ErrNotFound)
	}
	ref, err := image.ParseReference(rec.Source)
	if err != nil {
		return fmt.Errorf("image %s: source: %w", rec.ID, err)
	}
	if p.policy == Never {
		return fmt.Errorf("layer %s of %s: %w", missing[0].Digest, ref.Familiar(), ErrNotHere)
	}
	p.progress.Progress(progress.Started{Vertex: v, Time: time.Now()})
	defer func() { p.progress.Progress(progress.Finished{Vertex: v, Err: err, Time: time.Now()}) }()
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, d := range missing {
		group.Go(func() error { return p.blob(gctx, ref, d, v) })
	}
	return group.Wait()
}

// blob downloads one blob.
func (p *Puller) blob(ctx context.Context, ref image.Reference, d image.Descriptor, v progress.Vertex) error {
	part := string(d.Digest)
	report := func(current int64, done bool) {
		p.progress.Progress(progress.Advanced{Vertex: v, Part: part, Current: current, Total: d.Size, Done: done, Time: time.Now()})
	}
	_, err := p.store.Fetch(ctx, d, store.FetchOptions{
		Open:     func(ctx context.Context, from int64) (io.ReadCloser, error) { return p.remote.Blob(ctx, ref, d, from) },
		Waiting:  func() { report(0, false) },
		Advanced: func(n int64) { report(n, false) },
	})
	if err == nil {
		report(d.Size, true)
	}
	return errors.Join(err)
}
