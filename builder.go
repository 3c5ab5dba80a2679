// Package builder turns a recipe into an image.
//
// [Build] is the whole story: text becomes a recipe, the names in it become pins,
// recipe and pins become a graph of steps, and the graph becomes an image whose
// layers are in the depot. Where the image goes then is the caller's affair, and
// so is the choice of everything that touches the world: the resolver of names,
// the snapshotter, the cache, the sink for progress.
package builder

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"builder/executor"
	"builder/image"
	"builder/internal/diag"
	"builder/parser"
	"builder/planner"
)

// Resolver finds out what the names in a recipe stand for.
type Resolver interface {
	// Resolve returns the pin of a name. It is called from several goroutines.
	Resolve(ctx context.Context, name planner.Wanted) (planner.Pin, error)
}

// Options are what a build needs.
type Options struct {
	Recipe *diag.File
	// Ignore is the context's ignore file; it may be nil.
	Ignore *diag.File
	// Include reads files that the recipe includes; it may be nil.
	Include  parser.Include
	Plan     planner.Options
	Resolver Resolver
	Executor executor.Options
}

// Parse reads the recipe and what it includes.
func (o Options) Parse() (*parser.Recipe, error) {
	options := parser.Options{Include: o.Include}
	if syntax, ok := o.Plan.BuildArgs["BUILDKIT_SYNTAX"]; ok {
		options.Syntax = &syntax
	}
	return parser.ParseWith(o.Recipe, options)
}

// maxRounds bounds how often planning may ask for more names: each round's
// images can bring ONBUILD triggers that name further ones.
const maxRounds = 16

// Build makes the image that a recipe describes.
func Build(ctx context.Context, o Options) (*image.Image, error) {
	images, err := BuildAll(ctx, o, []image.Platform{o.Plan.Platform})
	if err != nil {
		return nil, err
	}
	return images[0], nil
}

// BuildAll makes the images that a recipe describes for several platforms, in their
// order. What they have in common is made once, and warned of once.
func BuildAll(ctx context.Context, o Options, on []image.Platform) ([]*image.Image, error) {
	var graphs []*planner.Graph
	for i, platform := range on {
		if o.Plan.Platform = platform; i > 0 {
			o.Plan.Warn = nil
		}
		graph, err := Plan(ctx, o)
		if err != nil {
			return nil, err
		}
		graphs = append(graphs, graph)
	}
	return executor.Run(ctx, planner.Join(graphs), o.Executor)
}

// Plan returns the graph of what [Build] would do. It resolves names and runs
// nothing.
func Plan(ctx context.Context, o Options) (*planner.Graph, error) {
	recipe, err := o.Parse()
	if err != nil {
		if o.Plan.CheckOnly {
			planner.Warn(recipe, o.Plan)
		}
		return nil, err
	}
	if o.Ignore != nil {
		if o.Plan.Ignore, err = parser.ParseIgnore(o.Ignore); err != nil {
			return nil, err
		}
	}
	pins := planner.Pins{}
	for range maxRounds {
		graph, wanted, err := planner.Plan(recipe, o.Plan, pins)
		if err != nil || len(wanted) == 0 {
			return graph, err
		}
		if err := resolve(ctx, o.Resolver, wanted, pins); err != nil {
			o.Plan.Unresolved = true
			if _, _, fault := planner.Plan(recipe, o.Plan, pins); fault != nil {
				err = fault // what is wrong with the recipe itself comes first
			}
			return nil, err
		}
	}
	return nil, fmt.Errorf("the recipe's base images ask for further images more than %d times over", maxRounds)
}

// resolve adds the pins of names, all at the same time.
func resolve(ctx context.Context, r Resolver, wanted []planner.Wanted, pins planner.Pins) error {
	found := make([]planner.Pin, len(wanted))
	faults := make([]error, len(wanted))
	var group errgroup.Group
	for i, w := range wanted {
		group.Go(func() error {
			found[i], faults[i] = r.Resolve(ctx, w)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var list diag.List
	for i, w := range wanted {
		if faults[i] != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if e, ok := errors.AsType[*diag.Error](faults[i]); ok && !e.Span.IsZero() {
				list.Add(e) // it says where and why
				continue
			}
			e := diag.Errorf(w.Span, "%s: %v", w.Reference.Familiar(), faults[i])
			e.Err = faults[i]
			if w.Near != "" {
				e = e.WithHint("did you mean the stage %q?", w.Near)
			}
			list.Add(e)
			continue
		}
		pins[w.Name] = found[i]
	}
	return list.Err()
}
