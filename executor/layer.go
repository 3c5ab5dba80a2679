package executor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"builder/cache"
	"builder/image"
	"builder/image/layer"
	"builder/internal/diag"
	"builder/internal/progress"
	"builder/planner"
)

// work is one step that makes a layer: the keys under which its result may be
// known, and how to make it.
type work struct {
	ref  planner.StepRef
	step *planner.Step
	root *result
	// wide is the key made of whole trees; it is known at once. It is nil where a
	// source has none.
	wide cache.Parts
	// narrow, where it is not nil, is the key made of just the paths selected.
	narrow func(context.Context) (cache.Parts, error)
	// build makes the layer and leaves it in the depot.
	build func(context.Context) (image.ContentDigest, error)
	// close lets go of what the others opened; it may be nil.
	close func() error
}

// layer answers a step from the cache or runs it.
func (r *run) layer(ctx context.Context, ref planner.StepRef) error {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-r.slots }()

	if err := r.before(ctx, ref); err != nil {
		return err
	}
	v := r.vertex(ref)
	r.Progress.Progress(progress.Started{Vertex: v, Time: now()})
	content, cached, err := r.answer(ctx, ref)
	err = r.blame(&r.graph.Steps[ref], err)
	shown := err
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		shown = context.Canceled // by what went wrong elsewhere
	}
	r.Progress.Progress(progress.Finished{Vertex: v, Cached: cached, Err: shown, Time: now()})
	if err != nil {
		return err
	}
	s, result := &r.graph.Steps[ref], &r.results[ref]
	result.tree = r.input(s, 0).with(s, content)
	return nil
}

// with is the tree with the layer that a step made.
func (t tree) with(s *planner.Step, content image.ContentDigest) tree {
	if op, ok := s.Op.(planner.Copy); ok && op.Link {
		t.linked = maps.Clone(t.linked)
		if t.linked == nil {
			t.linked = map[int]bool{}
		}
		t.linked[len(t.chain)] = true
	}
	t.chain = append(t.chain[:len(t.chain):len(t.chain)], content)
	return t
}

// answer is layer without the reporting. A context that changes while it is
// read makes the step start again, once.
func (r *run) answer(ctx context.Context, ref planner.StepRef) (image.ContentDigest, bool, error) {
	for attempt := 0; ; attempt++ {
		w, err := r.work(ctx, ref, attempt)
		if err != nil {
			return image.ContentDigest{}, false, err
		}
		content, cached, err := r.attempt(ctx, w)
		if w.close != nil {
			err = errors.Join(err, w.close())
		}
		if !errors.Is(err, layer.ErrChanged) || attempt > 0 {
			return content, cached, err
		}
	}
}

// attempt looks the step up, waits for another process that is making it, and
// makes it.
func (r *run) attempt(ctx context.Context, w *work) (content image.ContentDigest, cached bool, err error) {
	keys := []cache.Parts{}
	if w.wide != nil {
		keys = append(keys, w.wide)
		if content, ok, err := r.lookUp(ctx, w.step, w.wide); ok || err != nil {
			return content, ok, err
		}
	}
	if w.narrow != nil {
		narrow, err := w.narrow(ctx)
		if err != nil {
			return content, false, err
		}
		keys = append(keys, narrow)
		if content, ok, err := r.lookUp(ctx, w.step, narrow); ok || err != nil {
			return content, ok, errors.Join(err, r.record(keys[:len(keys)-1], content, 0, false))
		}
	}
	last := keys[len(keys)-1]
	unlock, err := r.Cache.Lock(ctx, last.Key(), func() { r.waiting(w) })
	if err != nil {
		return content, false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if content, ok, err := r.lookUp(ctx, w.step, last); ok || err != nil {
		return content, ok, err
	}
	start := now()
	if content, err = w.build(ctx); err != nil {
		return content, false, err
	}
	return content, false, r.record(keys, content, now().Sub(start), w.step.NoCache)
}

// lookUp answers from a record, if its layer is still here.
func (r *run) lookUp(ctx context.Context, s *planner.Step, p cache.Parts) (image.ContentDigest, bool, error) {
	if s.NoCache {
		return image.ContentDigest{}, false, nil
	}
	rec, ok, err := r.Cache.Get(p.Key())
	if !ok || err != nil {
		return image.ContentDigest{}, false, err
	}
	here, err := r.Depot.Has(ctx, rec.Layer)
	if err != nil {
		return image.ContentDigest{}, false, err
	}
	if here && !rec.Trusted {
		// The machine went down after the layer was written: it may be torn.
		if here, err = r.Depot.Verify(ctx, rec.Layer); err != nil {
			return image.ContentDigest{}, false, err
		}
		if here {
			err = r.Cache.Replace(p.Key(), rec)
		}
	}
	if !here {
		return image.ContentDigest{}, false, r.Cache.Forget(p.Key())
	}
	return rec.Layer, true, err
}

// record remembers what the keys gave.
func (r *run) record(keys []cache.Parts, content image.ContentDigest, took time.Duration, replace bool) error {
	for _, p := range keys {
		rec := cache.Record{Parts: p, Layer: content, Made: now(), Took: took}
		var err error
		if replace {
			err = r.Cache.Replace(p.Key(), rec)
		} else {
			_, err = r.Cache.Put(p.Key(), rec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// waiting says that another process is at the same step.
func (r *run) waiting(w *work) {
	r.Progress.Progress(progress.Output{Vertex: r.vertex(w.ref), Stream: progress.Stderr, Time: now(),
		Data: []byte("waiting for another build that is running this step\n")})
}

// work says what a step is. In the second attempt a context is read anew.
func (r *run) work(ctx context.Context, ref planner.StepRef, attempt int) (*work, error) {
	s := &r.graph.Steps[ref]
	w := &work{ref: ref, step: s, root: r.input(s, 0)}
	switch op := s.Op.(type) {
	case planner.Exec:
		r.execWork(w, op)
	case planner.Mkdir:
		w.wide = mkdirParts(op, w.root.chain)
		w.build = func(ctx context.Context) (image.ContentDigest, error) { return r.mkdir(ctx, w, op) }
	case planner.Copy:
		from, err := r.sources(ctx, s, len(op.More)+1, attempt)
		if err != nil {
			return nil, err
		}
		r.copyWork(w, op, from)
	default:
		return nil, fmt.Errorf("step %q: op %T makes no layer", s.Name, op)
	}
	return w, nil
}

// sources are what a copy takes files from. In the second attempt contexts are
// read anew.
func (r *run) sources(ctx context.Context, s *planner.Step, n, attempt int) ([]*result, error) {
	var from []*result
	for i := range n {
		in := r.input(s, 1+i)
		if attempt > 0 && in.files != nil && in.context.Name != "" {
			files, err := r.Contexts.Context(ctx, in.context)
			if err != nil {
				return nil, err
			}
			in = &result{files: files}
		}
		from = append(from, in)
	}
	return from, nil
}

// blame gives an error the place in the recipe that it came from.
func (r *run) blame(s *planner.Step, err error) error { return r.blameAt(s.Span, err) }

func (r *run) blameAt(at diag.Span, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if e, ok := errors.AsType[*diag.Error](err); ok {
		if !e.Span.IsZero() {
			return err
		}
		c := *e
		c.Span = at
		return &c
	}
	e := diag.Errorf(at, "%v", err)
	e.Err = err
	return e
}
