package executor

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"builder/image"
	"builder/planner"
)

// earliest is the stamp's start where the base gives none, or one before it:
// the first moment that every archive format and time zone can express.
var earliest = time.Date(1980, 2, 1, 0, 0, 0, 0, time.UTC)

// stamps returns the times that the layers of a chain carry in their tars, the
// topmost layer's first, and none for those of the base. They are a logical
// clock: a function of the base's time, the place and the content.
func (r *run) stamps(t tree, base time.Time) []int64 {
	stamps := make([]int64, 0, len(t.chain)-t.base)
	for i := len(t.chain) - 1; i >= t.base; i-- {
		n, start := i-t.base+1, start(base)
		if t.linked[i] {
			n, start = 0, earliest.Unix()
		}
		stamps = append(stamps, r.stamp(start, n, t.chain[i]))
	}
	return stamps
}

// stamp is the time of the layer at place n above a base from start.
func (r *run) stamp(start int64, n int, content image.ContentDigest) int64 {
	if r.Epoch != nil {
		return *r.Epoch
	}
	return start + 256*int64(n) + int64(content[len(content)-1])
}

// start is S, the time of the base or the earliest.
func start(base time.Time) int64 { return max(earliest.Unix(), base.Unix()) }

// assemble makes the image out of a result's tree and config.
func (r *run) assemble(ctx context.Context, of planner.Result) (*image.Image, error) {
	root := of.Root
	var top result
	if root != planner.None {
		top = r.results[root]
	}
	base, err := r.fetch(ctx, root)
	if err != nil {
		return nil, err
	}
	if len(base) != top.base {
		return nil, fmt.Errorf("base image has %d layers where its config lists %d", len(base), top.base)
	}
	if r.Squash {
		if top.tree, of, err = r.squashed(ctx, top.tree, of); err != nil {
			return nil, err
		}
	}
	img := &image.Image{Config: of.Config, Layers: append(base[:len(base):len(base)], make([]image.Layer, len(top.chain)-top.base)...)}
	stamps := r.stamps(top.tree, of.Base)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(cap(r.slots))
	for i := top.base; i < len(top.chain); i++ {
		group.Go(func() error {
			l, err := r.Depot.Seal(gctx, top.chain[i], stamps[len(top.chain)-1-i:])
			img.Layers[i] = l
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	r.date(&img.Config, of, stamps)
	img.Config.RootFS = image.RootFS{Type: "layers", DiffIDs: make([]image.Digest, len(img.Layers))}
	for i, l := range img.Layers {
		img.Config.RootFS.DiffIDs[i] = l.DiffID
	}
	return img, nil
}

// date gives the config and the history entries that are not the base's the
// time of the last layer up to there.
func (r *run) date(c *image.Config, of planner.Result, stamps []int64) {
	at := time.Unix(start(of.Base), 0).UTC()
	if r.Epoch != nil {
		at = time.Unix(*r.Epoch, 0).UTC()
	}
	history := make([]image.History, len(c.History))
	copy(history, c.History)
	next := len(stamps) - 1
	for i := of.BaseHistory; i < len(history); i++ {
		if !history[i].EmptyLayer && next >= 0 {
			if stamp := time.Unix(stamps[next], 0).UTC(); stamp.After(at) || r.Epoch != nil {
				at = stamp // a linked layer is older than what it stands on
			}
			next--
		}
		created := at
		history[i].Created = &created
	}
	created := at
	c.History, c.Created = history, &created
}
