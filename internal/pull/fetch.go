package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"builder/image"
	"builder/image/registry"
	"builder/image/store"
	"builder/internal/depot"
	"builder/internal/progress"
)

// parallel is how many layers are downloaded at a time.
const parallel = 3

// ask resolves a name in its registry. [Puller.Keep] records what it stands for.
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
	rec := store.Record{
		ID: r.ID(), Platform: c.Platform(), Layers: layers, Manifests: []image.Digest{r.Manifest.Digest},
		Received: map[image.Digest][]image.Descriptor{r.Digest: r.Layers, r.Manifest.Digest: r.Layers},
		Origin:   store.FromPull, Source: pinned.String(), Made: time.Now(),
	}
	name := ref
	if ref.Digest() != "" {
		if name, err = ref.WithOnlyDigest(ref.Digest()); err != nil {
			return img, err
		}
	}
	return Image{Digest: r.Digest, Record: rec, Config: c, name: name, config: r.ConfigBytes}, nil
}

// Keep records an image that [Puller.Look] returned, and gives it its name.
func (p *Puller) Keep(ctx context.Context, img Image) (Image, error) {
	if img.config == nil {
		return img, nil // it is here
	}
	// The record may know the image in another form, and so by other blobs.
	layers := img.Record.Layers
	rec, err := p.store.Add(ctx, img.Record, img.config)
	if err != nil {
		return img, err
	}
	img.Record = rec
	img.Record.Layers = layers
	_, err = p.store.Tag(ctx, store.Name{Reference: img.name, ID: rec.ID, Platform: rec.Platform, Manifest: img.Digest})
	return img, err
}

// unpack downloads the layers of an image and unpacks them meanwhile.
func (p *Puller) unpack(ctx context.Context, rec store.Record, ref image.Reference, to *depot.Depot, v progress.Vertex) error {
	_, err := to.Receive(ctx, depot.Incoming{
		Layers: rec.Layers, Parallel: parallel,
		Bring: func(ctx context.Context, l image.Layer, tee io.Writer) error {
			return p.blob(ctx, ref, *l.Blob, v, tee)
		},
		Unpacked: func(l image.Layer) {
			if l.Blob != nil {
				p.progress.Progress(progress.Advanced{Vertex: v, Part: "extracting " + string(l.Blob.Digest), Current: l.Blob.Size, Total: l.Blob.Size, Done: true, Time: time.Now()})
			}
		},
	})
	return err
}

// fetch downloads the blobs of an image that are not here. Where to is not nil
// they are unpacked into it while they arrive.
func (p *Puller) fetch(ctx context.Context, rec store.Record, to *depot.Depot, v progress.Vertex) (err error) {
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
	if to != nil {
		return p.unpack(ctx, rec, ref, to, v)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, d := range missing {
		group.Go(func() error { return p.blob(gctx, ref, d, v, nil) })
	}
	return group.Wait()
}

// blob downloads one blob. tee, if it is not nil, gets its bytes as they come.
func (p *Puller) blob(ctx context.Context, ref image.Reference, d image.Descriptor, v progress.Vertex, tee io.Writer) error {
	part := string(d.Digest)
	report := func(current int64, done bool) {
		p.progress.Progress(progress.Advanced{Vertex: v, Part: part, Current: current, Total: d.Size, Done: done, Time: time.Now()})
	}
	err := p.receive(ctx, p.registry.Blob(ref, d), d, store.FetchOptions{
		Waiting:  func() { report(0, false) },
		Advanced: func(n int64) { report(n, false) },
		Tee:      tee,
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
	return rec.Layers, p.fetch(ctx, rec, nil, v)
}

// CompleteTree is Complete for an image whose files are read at once: what has to
// come is unpacked into to while it arrives.
func (p *Puller) CompleteTree(ctx context.Context, rec store.Record, to *depot.Depot) ([]image.Layer, error) {
	v := progress.Vertex{ID: "pull " + string(rec.ID), Name: "pull " + rec.Source}
	return rec.Layers, p.fetch(ctx, rec, to, v)
}
