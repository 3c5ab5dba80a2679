package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"builder/executor"
	"builder/executor/source"
	"builder/image"
	"builder/internal/progress"
	"builder/internal/pull"
	"builder/planner"
)

// policy is what --pull says.
func (f *buildFlags) policy() pull.Policy {
	switch f.pull.value {
	case "always", "true":
		return pull.Always
	case "never":
		return pull.Never
	default:
		return pull.Missing
	}
}

// resolver answers what the names of a recipe stand for, and brings their
// layers.
type resolver struct {
	puller *pull.Puller
	sink   progress.Sink
	// requireRecipe refuses bases that were committed by hand.
	requireRecipe bool
	machine       *machine
	contexts      *namedContexts
}

func metadataVertex(ref image.Reference) progress.Vertex {
	return progress.Vertex{ID: "metadata " + ref.String(), Name: "[internal] load metadata for " + ref.String()}
}

// Resolve implements builder.Resolver.
func (r resolver) Resolve(ctx context.Context, w planner.Wanted) (planner.Pin, error) {
	if img, ok, err := r.contexts.find(ctx, r.machine, r.puller, w.Reference, w.Platform); ok || err != nil {
		return planner.Pin{Digest: img.Digest, Config: img.Config}, errors.Join(err, r.machine.use(img.Record.Layers))
	}
	img, err := r.puller.Resolve(ctx, w.Reference, w.Platform, metadataVertex(w.Reference))
	if err == nil {
		err = errors.Join(r.judge(w, img), r.machine.use(img.Record.Layers))
	}
	return planner.Pin{Digest: img.Digest, Config: img.Config}, err
}

// use notes that layers which were made here are used, whatever becomes of their image meanwhile.
func (m *machine) use(layers []image.Layer) error {
	for _, l := range layers {
		if l.Foreign() {
			continue
		}
		if _, err := m.depot.Use(l.Content); err != nil {
			return err
		}
	}
	return nil
}

// Layers implements executor.Bases.
func (r resolver) Layers(ctx context.Context, op planner.Image, v progress.Vertex) ([]image.Layer, error) {
	return r.puller.Layers(ctx, op.Digest, op.Platform, v)
}

// Tree implements executor.Bases.
func (r resolver) Tree(ctx context.Context, op planner.Image, v progress.Vertex) ([]image.Layer, error) {
	return r.puller.Tree(ctx, op.Digest, op.Platform, r.machine.depot, v)
}

var _ executor.Bases = resolver{}

// executor returns what a build runs with.
func (m *machine) executor(ctx context.Context, in *input, bases executor.Bases, fetch executor.Fetcher, grants executor.Grants, sink progress.Sink, jobs int, epoch *int64) executor.Options {
	return executor.Options{
		Cache: m.cache, Depot: m.depot, Snapshots: m.snapshots, Sandbox: m.sandbox, Bases: bases,
		Contexts: &contexts{command: ctx, m: m, in: in}, Fetcher: fetch, Grants: grants, Progress: sink, Jobs: jobs,
		Temp: m.lease.Dir(), Logs: filepath.Join(m.dir, "logs"), Epoch: epoch,
	}
}

// contexts opens the build context.
type contexts struct {
	// command is how long an opened context lives: longer than the step that asks
	// for it first.
	command context.Context //nolint:containedctx // see above
	m       *machine
	in      *input
}

// Context implements executor.Contexts.
func (c *contexts) Context(_ context.Context, op planner.Context) (*source.Context, error) {
	if dir, ok := c.in.named.dirs[op.Name]; ok {
		return c.m.openContext(c.command, dir, op.Ignore)
	}
	if c.in.archive != nil {
		return c.in.archive, nil
	}
	dir := c.in.dir
	if dir == "" {
		dir = filepath.Join(c.m.lease.Dir(), "empty")
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("build context: %w", err)
		}
	}
	return c.m.openContext(c.command, dir, op.Ignore)
}
