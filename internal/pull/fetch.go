package pull

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"builder/image"
	"builder/image/registry"
	"builder/image/store"
	"builder/internal/progress"
)

// parallel is how many layers are downloaded at a time.
const parallel = 3

// ask resolves a name in its registry and records what it stands for.
func (p *Puller) ask(ctx context.Context, ref image.Reference, platform image.Platform, v progress.Vertex) (img Image, err error) {
	p.progress.Progress(progress.Started{Vertex: v, Time: time.Now()})
	defer func() { p.progress.Progress(progress.Finished{Vertex: v, Err: err, Time: time.Now()}) }()
	r, err := p.registry.Resolve(ctx, ref, platform)
	if err != nil {
		return img, err
	}
	c, err := image.ParseConfig(r.ConfigBytes)
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
	}, r.ConfigBytes)
	if err != nil {
		return img, err
	}
	// The record may know the image in another form, and so by other blobs.
	rec.Layers = layers
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
	err := p.receive(ctx, p.registry.Blob(ref, d), d, store.FetchOptions{
		Waiting:  func() { report(0, false) },
		Advanced: func(n int64) { report(n, false) },
	})
	if err == nil {
		report(d.Size, true)
	}
	return err
}

// receive stores a blob. Where a mirror's bytes are not those of the digest, the
// next place is asked for all of them.
func (p *Puller) receive(ctx context.Context, from *registry.Source, d image.Descriptor, o store.FetchOptions) error {
	o.Open = from.Open
	for {
		_, err := p.store.Fetch(ctx, d, o)
		if _, wrong := errors.AsType[*store.MismatchError](err); !wrong || !from.Distrust() {
			return err
		}
	}
}

// Complete sees to it that the layers of an image of the store are here and
// returns them, lowest first.
func (p *Puller) Complete(ctx context.Context, rec store.Record) ([]image.Layer, error) {
	v := progress.Vertex{ID: "pull " + string(rec.ID), Name: "pull " + rec.Source}
	return rec.Layers, p.fetch(ctx, rec, v)
}
