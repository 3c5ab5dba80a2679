package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"builder/image"
	"builder/image/layer"
	"builder/image/store"
	"builder/snapshot"
)

// Incoming is the layers of an image that come from elsewhere, lowest first, and
// how they come.
type Incoming struct {
	Layers []image.Layer
	// Parallel is how many come at a time.
	Parallel int
	// Bring sees to it that a layer's blob is here. Where it brings it, tee gets the
	// bytes as they come. They are not verified before it returns.
	Bring func(ctx context.Context, l image.Layer, tee io.Writer) error
	// Unpacked is told when a layer's tree is here. May be nil.
	Unpacked func(l image.Layer)
}

// Receive brings layers, unpacks them while they arrive, and returns the tree of
// all. Layers that need nothing of those below are unpacked at the same time;
// the others, and all where the snapshotter cannot do without the tree below,
// from their blobs, one after the other. A layer whose bytes turn out to be wrong
// leaves nothing.
func (d *Depot) Receive(ctx context.Context, in Incoming) (snapshot.Tree, error) {
	arrived := make([]arrival, len(in.Layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, in.Parallel))
	for i, l := range in.Layers {
		g.Go(func() (err error) {
			arrived[i], err = d.receive(gctx, l, i == 0, in.Bring)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return snapshot.Tree{}, errors.Join(err, discard(arrived))
	}
	var tree snapshot.Tree
	chain := make([]image.ContentDigest, 0, len(in.Layers))
	for i, l := range in.Layers {
		c, err := l.Content, error(nil)
		if l.Foreign() {
			c, err = d.AddBase(ctx, l)
		}
		chain = append(chain, c)
		if err == nil {
			tree, err = d.place(ctx, tree, chain, l, &arrived[i])
		}
		if err != nil {
			return tree, errors.Join(err, discard(arrived))
		}
		if in.Unpacked != nil {
			in.Unpacked(l)
		}
	}
	return tree, nil
}

// arrival is a layer that was unpacked while it arrived; staged is nil where that
// could not be done, or was done before.
type arrival struct {
	staged snapshot.Staged
	index  *layer.Index
}

// discard removes what no tree has.
func discard(all []arrival) error {
	var errs []error
	for _, a := range all {
		if a.staged != nil {
			errs = append(errs, a.staged.Discard())
		}
	}
	return errors.Join(errs...)
}

// place makes the tree of a chain, of which l is the last layer and parent the
// tree of the others.
func (d *Depot) place(ctx context.Context, parent snapshot.Tree, chain []image.ContentDigest, l image.Layer, a *arrival) (snapshot.Tree, error) {
	staged := a.staged
	if staged == nil {
		return d.Tree(ctx, chain)
	}
	a.staged = nil
	c := chain[len(chain)-1]
	tree, err := staged.Adopt(ctx, parent.ID, snapshot.Chain(parent.ID, c))
	if err != nil {
		return tree, err
	}
	if err := d.register(c, a.index, &foreign{DiffID: l.DiffID, Layer: l}); err != nil {
		return tree, err
	}
	return tree, d.mark(c, tree.ID)
}

// receive brings a layer's blob and unpacks it meanwhile, if it can. That it
// could not is no error: it is unpacked from the blob then, and fails there if
// the layer is at fault.
func (d *Depot) receive(ctx context.Context, l image.Layer, lowest bool, bring func(context.Context, image.Layer, io.Writer) error) (arrival, error) {
	if l.Blob == nil {
		return arrival{}, nil
	}
	_, here, err := d.source(ctx, image.ForeignContent(l.DiffID))
	if err != nil {
		return arrival{}, err
	}
	if here {
		return arrival{}, d.check(ctx, l, bring)
	}
	stager, ok := d.snaps.(snapshot.Stager)
	if !ok {
		return arrival{}, bring(ctx, l, nil)
	}
	u := &unpacking{ctx: ctx, depot: d, layer: l, lowest: lowest}
	var brought error
	staged, err := stager.Stage(ctx, func(dir string, w snapshot.Whiteouts) error {
		u.dir, u.whiteouts = dir, whiteouts(w)
		brought = bring(ctx, l, u)
		return errors.Join(brought, u.finish(brought))
	})
	if brought != nil || err == nil {
		return arrival{staged, u.index}, brought
	}
	if ctx.Err() != nil {
		return arrival{}, context.Cause(ctx)
	}
	return arrival{}, nil
}

// check brings a blob of a layer whose tree is here already, and sees to it that
// the blob is that layer: nobody may read it before it is sent on.
func (d *Depot) check(ctx context.Context, l image.Layer, bring func(context.Context, image.Layer, io.Writer) error) error {
	out, in := io.Pipe()
	var work sync.WaitGroup
	var wrong error
	work.Go(func() {
		wrong = verify(out, l.DiffID)
		out.CloseWithError(io.ErrClosedPipe)
	})
	passed := &passing{w: in}
	err := bring(ctx, l, passed)
	in.CloseWithError(err)
	work.Wait()
	if err != nil || !passed.any {
		return err
	}
	return wrong
}

// verify reads a blob to its end.
func verify(blob io.Reader, diffID image.Digest) error {
	tar, err := store.Decompress(blob)
	if err == nil {
		_, err = io.Copy(io.Discard, newVerifier(tar, diffID))
		err = errors.Join(err, tar.Close())
	}
	if err == nil {
		_, err = io.Copy(io.Discard, blob) // what a compressed stream has after its end
	}
	if err != nil {
		return fmt.Errorf("layer %s: %w", diffID, err)
	}
	return nil
}

// passing passes bytes on to who may not want them any more.
type passing struct {
	w   io.Writer
	any bool
}

// Write implements [io.Writer]. It never fails.
func (p *passing) Write(b []byte) (int, error) {
	p.any = true
	_, _ = p.w.Write(b)
	return len(b), nil
}

// unpacking unpacks what is written to it.
type unpacking struct {
	ctx       context.Context //nolint:containedctx // a writer's, from the first byte to finish
	depot     *Depot
	layer     image.Layer
	lowest    bool
	dir       string
	whiteouts layer.Whiteouts

	in    *io.PipeWriter // nil before the first byte
	work  sync.WaitGroup
	index *layer.Index
	err   error
}

// Write implements [io.Writer]. It never fails: the blob is wanted even where it
// cannot be unpacked.
func (u *unpacking) Write(p []byte) (int, error) {
	if u.in == nil {
		var out *io.PipeReader
		out, u.in = io.Pipe()
		u.work.Go(func() {
			u.index, u.err = u.read(out)
			if u.err == nil {
				_, u.err = io.Copy(io.Discard, out) // what a compressed stream has after its end
			}
			out.CloseWithError(errors.Join(u.err, io.ErrClosedPipe))
		})
	}
	_, _ = u.in.Write(p)
	return len(p), nil
}

// finish waits until all is unpacked. A blob of which nothing was written is here
// already, and read.
func (u *unpacking) finish(brought error) error {
	if u.in != nil {
		u.in.CloseWithError(brought)
		u.work.Wait()
		return u.err
	}
	if brought != nil {
		return nil
	}
	blob, err := u.depot.blobs.Provide(u.ctx, u.layer.Blob.Digest)
	if err != nil {
		return err
	}
	u.index, err = u.read(blob)
	return errors.Join(err, blob.Close())
}

// read unpacks a blob.
func (u *unpacking) read(blob io.Reader) (*layer.Index, error) {
	ahead := readAhead(blob)
	ix, err := u.readAhead(ahead)
	return ix, errors.Join(err, ahead.Close())
}

func (u *unpacking) readAhead(blob io.Reader) (*layer.Index, error) {
	tar, err := store.Decompress(blob)
	if err != nil {
		return nil, err
	}
	below := &unknown{}
	o := layer.ApplyOptions{Whiteouts: u.whiteouts, Latest: time.Now()}
	if !u.lowest {
		o.Below = below
	}
	ix, err := u.depot.readLayer(u.ctx, u.layer.DiffID, &stopping{tar, below}, u.dir, o)
	if err == nil && below.wasAsked() {
		err = errBelow
	}
	return ix, errors.Join(err, tar.Close())
}

// errBelow is returned for a layer that says something about what is below it.
var errBelow = errors.New("the layer needs those below it")

// unknown is the tree below a layer that has none yet. It notices who looks.
type unknown struct {
	mu    sync.Mutex
	asked bool
}

var _ layer.View = (*unknown)(nil)

func (u *unknown) wasAsked() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked
}

func (u *unknown) ask() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = true
}

// Lookup implements [layer.View].
func (u *unknown) Lookup(string) (layer.Entry, bool) {
	u.ask()
	return layer.Entry{}, false
}

// ReadDir implements [layer.View].
func (u *unknown) ReadDir(string) []layer.Entry {
	u.ask()
	return nil
}

// stopping ends a stream with an error when the tree below was asked for.
type stopping struct {
	r     io.Reader
	below *unknown
}

// Read implements [io.Reader].
func (s *stopping) Read(p []byte) (int, error) {
	if s.below.wasAsked() {
		return 0, errBelow
	}
	return s.r.Read(p)
}
