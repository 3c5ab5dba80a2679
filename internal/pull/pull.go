package pull

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"builder/image"
	"builder/image/registry"
	"builder/image/store"
	"builder/internal/depot"
	"builder/internal/progress"
)

// Policy says when a registry is asked.
type Policy int

// The policies, as --pull spells them.
const (
	Missing Policy = iota // for what is not here
	Always                // for every name
	Never                 // not at all
)

// ErrNotHere is returned under [Never] for a name that is not on this machine.
var ErrNotHere = errors.New("not on this machine, and --pull=never forbids to ask a registry")

// Puller brings images. It can be used by many goroutines.
type Puller struct {
	store    *store.Store
	registry *registry.Client
	policy   Policy
	progress progress.Sink

	mu    sync.Mutex
	known map[pin]store.Record
}

// pin is what a resolved name is known by: an index has one digest for all its
// platforms.
type pin struct {
	digest   image.Digest
	platform string
}

// New returns a puller.
func New(s *store.Store, client *registry.Client, policy Policy, sink progress.Sink) *Puller {
	return &Puller{store: s, registry: client, policy: policy, progress: sink, known: map[pin]store.Record{}}
}

// Image is an image that a name stands for.
type Image struct {
	// Digest is that of the manifest or index that the name has in its registry,
	// and of the config where it has none.
	Digest image.Digest
	Record store.Record
	Config image.Config

	name   image.Reference // what it is to be called, and its config's bytes,
	config []byte          // where it is not recorded yet
}

// Resolve returns the image that a name stands for on a platform, and records
// it. Its layers need not be here.
func (p *Puller) Resolve(ctx context.Context, ref image.Reference, platform image.Platform, v progress.Vertex) (Image, error) {
	img, err := p.Look(ctx, ref, platform, v)
	if err != nil {
		return img, err
	}
	return p.Keep(ctx, img)
}

// Look is Resolve, but what a registry said is not recorded.
func (p *Puller) Look(ctx context.Context, ref image.Reference, platform image.Platform, v progress.Vertex) (Image, error) {
	if p.policy != Always {
		img, ok, err := p.local(ctx, ref, platform)
		if ok || err != nil {
			return img, err
		}
		if p.policy == Never {
			return Image{}, ErrNotHere
		}
	}
	img, err := p.ask(ctx, ref, platform, v)
	if err != nil {
		return Image{}, err
	}
	p.remember(img, platform)
	return img, nil
}

// Know makes an image that came another way one that was resolved.
func (p *Puller) Know(img Image, platform image.Platform) { p.remember(img, platform) }

func (p *Puller) remember(img Image, platform image.Platform) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[pin{img.Digest, image.FormatPlatform(platform)}] = img.Record
}

// local looks a name up in the store. An image for another platform is none.
func (p *Puller) local(ctx context.Context, ref image.Reference, platform image.Platform) (Image, bool, error) {
	found, ok, err := p.store.Lookup(ctx, ref, platform)
	if err != nil || !ok {
		return Image{}, false, err
	}
	if !image.MatchPlatform(platform, found.Platform) && p.policy != Never && found.Name.Manifest != "" {
		return Image{}, false, nil
	}
	c, _, err := p.store.Config(ctx, found.ID)
	if errors.Is(err, store.ErrNotFound) {
		return Image{}, false, nil // torn by a crash: it is fetched again
	}
	if err != nil {
		return Image{}, false, err
	}
	img := Image{Digest: found.Name.Manifest, Record: found.Record, Config: c}
	if found.Name.Manifest != "" {
		// Another name may have brought the record here, from a registry that does not
		// have the blobs of this one.
		own, err := ref.WithDigest(found.Name.Manifest)
		if err != nil {
			return Image{}, false, err
		}
		img.Record.Source = own.String()
	}
	if img.Digest == "" {
		img.Digest = found.ID
	}
	p.remember(img, platform)
	return img, true, nil
}

// Layers sees to it that the layers of an image that was resolved for a platform
// are on this machine and returns them, lowest first.
func (p *Puller) Layers(ctx context.Context, digest image.Digest, platform image.Platform, v progress.Vertex) ([]image.Layer, error) {
	return p.layers(ctx, pin{digest, image.FormatPlatform(platform)}, nil, v)
}

// Tree is Layers for an image whose files are read at once: layers that have to
// come are unpacked into to while they arrive.
func (p *Puller) Tree(ctx context.Context, digest image.Digest, platform image.Platform, to *depot.Depot, v progress.Vertex) ([]image.Layer, error) {
	return p.layers(ctx, pin{digest, image.FormatPlatform(platform)}, to, v)
}

func (p *Puller) layers(ctx context.Context, of pin, to *depot.Depot, v progress.Vertex) ([]image.Layer, error) {
	p.mu.Lock()
	rec, ok := p.known[of]
	p.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("image %s was not resolved", of.digest)
	}
	if err := p.fetch(ctx, rec, to, v); err != nil {
		return nil, err
	}
	return rec.Layers, nil
}

// Sink is where the puller's progress goes.
func (p *Puller) Sink() progress.Sink { return p.progress }
