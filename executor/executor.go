package executor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"builder/cache"
	"builder/executor/network"
	"builder/executor/sandbox"
	"builder/executor/source"
	"builder/image"
	"builder/internal/depot"
	"builder/internal/progress"
	"builder/planner"
	"builder/snapshot"
)

// Bases brings the layers of base images to this machine.
type Bases interface {
	// Layers makes sure that the layers of the image are here and returns them,
	// lowest first. Transfers are reported under v.
	Layers(ctx context.Context, op planner.Image, v progress.Vertex) ([]image.Layer, error)
	// Tree is Layers for an image on whose files a step runs: layers that have to
	// come may be unpacked while they arrive.
	Tree(ctx context.Context, op planner.Image, v progress.Vertex) ([]image.Layer, error)
}

// Contexts opens the build contexts that a graph names: anew at every call, so
// that one which changed while it was read can be read again. They are closed
// by whoever made the Contexts.
type Contexts interface {
	Context(ctx context.Context, op planner.Context) (*source.Context, error)
}

// Fetcher brings what is elsewhere to this machine. What it returns is closed by
// whoever made the Fetcher, and one name stands for one thing as long as it is there.
type Fetcher interface {
	HTTP(ctx context.Context, op planner.HTTP, v progress.Vertex) (*source.Context, error)
	Git(ctx context.Context, op planner.Git, v progress.Vertex) (*source.Context, error)
}

// Grants are what the user of a build lends to its steps. They can be used by many
// goroutines.
type Grants interface {
	// Secret returns the value of a secret; ok is false where the build has none of
	// that name.
	Secret(id string) (value []byte, ok bool, err error)
	// Agent returns what answers the connections to an SSH agent, and closes them; ok is false where the
	// build has none of that name.
	Agent(id string) (serve func(context.Context, net.Conn), ok bool)
}

// Options are what a run needs.
type Options struct {
	Cache     *cache.Cache
	Depot     *depot.Depot
	Snapshots snapshot.Snapshotter
	Sandbox   *sandbox.Sandbox
	Bases     Bases
	Contexts  Contexts
	Fetcher   Fetcher
	Grants    Grants
	Progress  progress.Sink
	// Jobs is how many steps run at a time; at least 1.
	Jobs int
	// Temp is for files of this run, Logs for the output of steps, which outlives it.
	Temp, Logs string
	// Epoch, where it is set, takes the place of all stamps, before what the graph
	// says: SOURCE_DATE_EPOCH, in seconds.
	Epoch *int64
	// Squash makes one layer of those that the steps have made.
	Squash bool
	// Stopped, where it is not nil, is called for each RUN that fails, before its tree is thrown away, and with
	// StopAtResult for the first result.
	Stopped      func(context.Context, Stopped) error
	StopAtResult bool
	// Reached, where it is not nil, is called in front of each step that makes a layer.
	Reached func(context.Context, Stopped) error
}

// run is one graph on its way to an image.
type run struct {
	Options
	graph   *planner.Graph
	slots   chan struct{}
	results []result
	tars    []bool // by step: its layer is written straight to a tar
	// begins says for each step on the way to a result when its base was created.
	begins []time.Time

	network   network.Switch
	authority func() (*network.Authority, error) // made when a step needs it

	mu      sync.Mutex
	fetched map[*planner.Image][]image.Layer
}

// result is what a step made: a tree, or for a context its files.
type result struct {
	tree
	done  chan struct{}
	image *planner.Image
	files *source.Context
	// context is the op that files was opened for; zero for what was fetched.
	context planner.Context
}

// tree is what the layers of a chain make, lowest first.
type tree struct {
	chain []image.ContentDigest
	base  int // how many layers of the chain no step made
	// linked are the places in the chain of layers that do not depend on what is
	// below them.
	linked map[int]bool
}

// Run executes the graph and returns the images that it makes, in the order of its
// results. Their layers are in the depot.
func Run(ctx context.Context, g *planner.Graph, o Options) (images []*image.Image, err error) {
	r := &run{Options: o, graph: g, slots: make(chan struct{}, max(o.Jobs, 1)), results: make([]result, len(g.Steps)), fetched: map[*planner.Image][]image.Layer{}}
	r.authority = sync.OnceValues(network.NewAuthority)
	if r.Epoch == nil && g.Result.Epoch != nil {
		seconds := g.Result.Epoch.Unix()
		r.Epoch = &seconds
	}
	defer func() { err = errors.Join(err, r.network.Close()) }()
	for i := range r.results {
		r.results[i].done = make(chan struct{})
	}
	r.tars, r.begins = straightToTar(g), begins(g)
	group, gctx := errgroup.WithContext(ctx)
	for i := range g.Steps {
		group.Go(func() error {
			if err := r.wait(gctx, g.Steps[i].Inputs); err != nil {
				return err
			}
			if err := r.step(gctx, planner.StepRef(i)); err != nil {
				return err
			}
			close(r.results[i].done)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, result := range g.Results() {
		img, err := r.assemble(ctx, result)
		if err != nil {
			return nil, err
		}
		images = append(images, img)
	}
	if r.Stopped != nil && r.StopAtResult {
		if err := r.stopResult(ctx, images[0]); err != nil {
			return nil, err
		}
	}
	return images, nil
}

// begins finds when the base below each step was created, for steps on the way to
// a result.
func begins(g *planner.Graph) []time.Time {
	times := make([]time.Time, len(g.Steps))
	for _, r := range g.Results() {
		for at := r.Root; at != planner.None; {
			times[at] = r.Base
			if len(g.Steps[at].Inputs) == 0 {
				break
			}
			at = g.Steps[at].Inputs[0]
		}
	}
	return times
}

// wait returns when the inputs are there.
func (r *run) wait(ctx context.Context, inputs []planner.StepRef) error {
	for _, in := range inputs {
		if in == planner.None {
			continue
		}
		select {
		case <-r.results[in].done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return context.Cause(ctx)
}

// input returns what input n of a step made; the empty tree for none.
func (r *run) input(s *planner.Step, n int) *result {
	if n >= len(s.Inputs) || s.Inputs[n] == planner.None {
		return &result{}
	}
	return &r.results[s.Inputs[n]]
}

// straightToTar says for each step whether nobody but the image needs its
// layer: then it is written as a tar and never as files.
func straightToTar(g *planner.Graph) []bool {
	tars := make([]bool, len(g.Steps))
	for _, r := range g.Results() {
		for at := r.Root; at != planner.None; {
			s := &g.Steps[at]
			switch s.Op.(type) {
			case planner.Copy, planner.Mkdir:
				tars[at] = true
			default:
				at = planner.None
				continue
			}
			if len(s.Inputs) == 0 {
				break
			}
			at = s.Inputs[0]
		}
	}
	for i := range g.Steps {
		s := &g.Steps[i]
		for n, in := range s.Inputs {
			if _, exec := s.Op.(planner.Exec); in != planner.None && (exec || n > 0) {
				tars[in] = false
			}
		}
	}
	// Below a layer with files every layer has files.
	for i := len(g.Steps) - 1; i >= 0; i-- {
		if in := g.Steps[i].Inputs; !tars[i] && len(in) > 0 && in[0] != planner.None {
			tars[in[0]] = false
		}
	}
	return tars
}

// step makes the result of one step.
func (r *run) step(ctx context.Context, ref planner.StepRef) error {
	s, result := &r.graph.Steps[ref], &r.results[ref]
	switch op := s.Op.(type) {
	case planner.Image:
		result.image = &op
		for _, id := range op.DiffIDs {
			result.chain = append(result.chain, image.ForeignContent(id))
		}
		result.base = len(result.chain)
		v := progress.Vertex{ID: fmt.Sprintf("from %d", ref), Name: s.Name}
		r.Progress.Progress(progress.Started{Vertex: v, Time: now()})
		r.Progress.Progress(progress.Finished{Vertex: v, Time: now()})
		return nil
	case planner.Context:
		files, err := r.Contexts.Context(ctx, op)
		result.files, result.context = files, op
		return err
	case planner.HTTP:
		return r.remote(ctx, ref, func(v progress.Vertex) (*source.Context, error) { return r.Fetcher.HTTP(ctx, op, v) })
	case planner.Git:
		return r.remote(ctx, ref, func(v progress.Vertex) (*source.Context, error) { return r.Fetcher.Git(ctx, op, v) })
	case planner.Exec, planner.Copy, planner.Mkdir:
		return r.layer(ctx, ref)
	default:
		return fmt.Errorf("step %q: op %T is not known to the executor", s.Name, op)
	}
}

// remote makes the result of a step that fetches files.
func (r *run) remote(ctx context.Context, ref planner.StepRef, fetch func(progress.Vertex) (*source.Context, error)) error {
	v := progress.Vertex{ID: fmt.Sprintf("fetch %d", ref), Name: r.graph.Steps[ref].Name}
	r.Progress.Progress(progress.Started{Vertex: v, Time: now()})
	files, err := fetch(v)
	err = r.blame(&r.graph.Steps[ref], err)
	r.Progress.Progress(progress.Finished{Vertex: v, Err: err, Time: now()})
	r.results[ref].files = files
	return err
}

// vertex names a step for people who watch.
func (r *run) vertex(ref planner.StepRef) progress.Vertex {
	return progress.Vertex{ID: fmt.Sprintf("step %d", ref), Name: r.graph.Steps[ref].Name}
}

// root is the base image step at the bottom of a tree, if there is one.
func (r *run) root(ref planner.StepRef) *planner.Image {
	for ref != planner.None {
		s := &r.graph.Steps[ref]
		if r.results[ref].image != nil {
			return r.results[ref].image
		}
		if len(s.Inputs) == 0 {
			return nil
		}
		ref = s.Inputs[0]
	}
	return nil
}

// fetch makes sure that the layers of the base image below a tree are here. Each
// base is asked for once, by the first step that needs its files.
func (r *run) fetch(ctx context.Context, ref planner.StepRef) ([]image.Layer, error) {
	base := r.root(ref)
	if base == nil {
		return nil, nil
	}
	r.mu.Lock()
	layers, ok := r.fetched[base]
	r.mu.Unlock()
	if ok {
		return layers, nil
	}
	layers, err := r.bring(ctx, base, ref)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetched[base] = layers
	return layers, nil
}

// bring has the layers of a base, below the tree ref, fetched and makes them known to the depot.
func (r *run) bring(ctx context.Context, base *planner.Image, ref planner.StepRef) ([]image.Layer, error) {
	v := progress.Vertex{ID: "pull " + base.Digest.String() + image.FormatPlatform(base.Platform), Name: "[internal] pull " + base.Reference}
	bring := r.Bases.Layers
	if r.runs(ref) {
		bring = r.Bases.Tree
	}
	layers, err := bring(ctx, *base, v)
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		if _, err := r.Depot.AddBase(ctx, l); err != nil {
			return nil, err
		}
	}
	return layers, nil
}

// runs reports whether a step of the graph runs on the files of the base at the
// bottom of the tree ref.
func (r *run) runs(ref planner.StepRef) bool {
	base := r.bottom(ref)
	for i := range r.graph.Steps {
		s := &r.graph.Steps[i]
		if _, ok := s.Op.(planner.Exec); !ok {
			continue
		}
		if slices.ContainsFunc(s.Inputs, func(in planner.StepRef) bool { return in != planner.None && r.bottom(in) == base }) {
			return true
		}
	}
	return false
}

// bottom is the step without inputs that a tree began with, or none.
func (r *run) bottom(ref planner.StepRef) planner.StepRef {
	for ref != planner.None && len(r.graph.Steps[ref].Inputs) > 0 {
		ref = r.graph.Steps[ref].Inputs[0]
	}
	return ref
}

// now is the moment, for records and for files being written.
func now() time.Time { return time.Now() }
