package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"builder/image"
	"builder/internal/progress"
)

// PushOptions say how images are pushed.
type PushOptions struct {
	// Known are repositories of the same registry, by their path, that may have a
	// layer's blob already: it is mounted from there instead of being sent.
	Known map[image.Digest]string
	// Index makes an index even of one image. Several always get one.
	Index bool
	// Annotations are those of the index.
	Annotations map[string]string
	// Types is the vocabulary of the index.
	Types image.MediaTypes
	// Vertex and Sink are where the transfer shows. Sink may be nil.
	Vertex progress.Vertex
	Sink   progress.Sink
}

// uploads is how many blobs are sent at once, and tries how often one is begun,
// or taken up, without getting further.
const (
	uploads = 4
	tries   = 4
)

// Push sends images to the repository of a name and gives them the name: the
// manifest of one image, an index of several. Blobs that are there already are
// not sent. It returns what the name means then.
func (c *Client) Push(ctx context.Context, ref image.Reference, images []image.Export, o PushOptions) (image.Descriptor, error) {
	if o.Sink == nil {
		o.Sink = progress.Discard
	}
	d, err := c.push(ctx, ref, images, o)
	if err != nil {
		return d, fmt.Errorf("push %s: %w", ref.Familiar(), explain(err))
	}
	return d, nil
}

func (c *Client) push(ctx context.Context, ref image.Reference, images []image.Export, o PushOptions) (image.Descriptor, error) {
	repo, err := c.repository(origin(ref))
	if err != nil {
		return image.Descriptor{}, err
	}
	// One token for everything.
	ctx = auth.AppendRepositoryScope(ctx, repo.Reference, auth.ActionPull, auth.ActionPush)
	if err := pushBlobs(ctx, repo, images, o); err != nil {
		return image.Descriptor{}, err
	}
	name := ref.Tag()
	if name == "" {
		name = string(ref.Digest())
	}
	if len(images) == 1 && !o.Index {
		p := images[0]
		return p.Manifest, pushManifest(ctx, repo, p.Manifest, p.ManifestBytes, name)
	}
	packed := make([]image.Packed, len(images))
	for i, p := range images {
		packed[i] = p.Packed
		if err := pushManifest(ctx, repo, p.Manifest, p.ManifestBytes, string(p.Manifest.Digest)); err != nil {
			return image.Descriptor{}, err
		}
	}
	index, data, err := image.PackIndex(o.Types, packed, o.Annotations)
	if err != nil {
		return index, err
	}
	return index, pushManifest(ctx, repo, index, data, name)
}

func pushManifest(ctx context.Context, repo *remote.Repository, d image.Descriptor, data []byte, name string) error {
	d = image.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	if err := repo.Manifests().PushReference(ctx, d, bytes.NewReader(data), name); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	return nil
}

// pushBlobs sends the layers and the configs of images, each once.
func pushBlobs(ctx context.Context, repo *remote.Repository, images []image.Export, o PushOptions) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(uploads)
	begun := map[image.Digest]bool{}
	for _, p := range images {
		for i, l := range append([]image.Descriptor{p.Config}, p.Layers...) {
			if begun[l.Digest] {
				continue
			}
			begun[l.Digest] = true
			open := func() (io.ReadCloser, error) { return p.Blobs.Open(ctx, l) }
			o := o
			if i == 0 {
				o.Sink = progress.Discard // layers are what people wait for
				open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p.ConfigBytes)), nil }
			}
			g.Go(func() error { return pushBlob(ctx, repo, l, open, o) })
		}
	}
	return g.Wait()
}

// pushBlob sees to it that the repository has a blob.
func pushBlob(ctx context.Context, repo *remote.Repository, d image.Descriptor, open func() (io.ReadCloser, error), o PushOptions) error {
	there, err := repo.Blobs().Exists(ctx, d)
	if err != nil {
		return fmt.Errorf("look for blob %s: %w", d.Digest, err)
	}
	if there {
		o.note(d, "Layer already exists")
		return nil
	}
	u := &upload{repo: repo, blob: d, open: open, options: o}
	return u.run(ctx)
}

// openError is an error of this side.
type openError struct{ error }

func (e openError) Unwrap() error { return e.error }

// sending reports what has been read of a body of n bytes.
type sending struct {
	io.Reader
	n       int64
	options PushOptions
	blob    image.Descriptor
	sent    int64
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.sent += int64(n)
	s.options.report(s.blob, s.sent, false)
	return n, err
}

// report tells the sink how far a blob has come.
func (o PushOptions) report(d image.Descriptor, current int64, done bool) {
	o.Sink.Progress(progress.Advanced{Vertex: o.Vertex, Part: "pushing " + string(d.Digest), Current: current, Total: d.Size, Done: done, Time: time.Now()})
}

// note tells the sink that a blob need not be sent, and why.
func (o PushOptions) note(d image.Descriptor, why string) {
	o.Sink.Progress(progress.Advanced{Vertex: o.Vertex, Part: "pushing " + string(d.Digest), Current: d.Size, Total: d.Size, Done: true, Note: why, Time: time.Now()})
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
