package executor

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"builder/executor/sandbox"
	"builder/image"
	"builder/internal/diag"
	"builder/planner"
	"builder/snapshot"
)

// Session is a command that somebody runs in the tree of a step that has ended.
type Session struct {
	Args []string
	// Env, User and Dir take the place of the step's, Env those of the same name.
	Env       []string
	User, Dir string

	Stdin          *os.File
	Stdout, Stderr io.Writer
	// Terminal gives the command a terminal, of this size; Started is told of the process, to be
	// connected with it. Both are as in [sandbox.Spec].
	Terminal      bool
	Rows, Columns uint16
	Started       func(*sandbox.Process) (done func() error, err error)
}

// Stopped is a step whose tree can be looked at: as its process left it, with the mounts, the
// network and the environment that the process had. Nothing that a session does there is kept.
type Stopped struct {
	Step string    // as progress shows it
	Span diag.Span // in the recipe; zero for a result
	Err  error     // why it failed; nil in front of a step and for the result of a build
	Env  []string  // that a command has there
	// Root is the tree, to be read; it is made ready when it is asked for.
	Root func(context.Context) (sandbox.Root, error)
	// Run runs a session and returns what its command ended with.
	Run func(context.Context, Session) error
}

// stop lets somebody look at a step that has failed. Its tree is thrown away afterwards, as is that of
// each step that fails.
func (r *run) stop(ctx context.Context, w *work, op planner.Exec, spec *sandbox.Spec, failed error) error {
	if r.Stopped == nil {
		return nil
	}
	look := func(context.Context) (sandbox.Root, error) { return readOnly(spec.Root), nil }
	return r.Stopped(ctx, Stopped{Step: w.step.Name, Span: w.step.Span, Err: failed, Env: spec.Env, Root: look, Run: func(ctx context.Context, s Session) error {
		wire := r.wire(op)
		again := *spec
		err := wire.connect(&again, op)
		if err == nil {
			err = r.session(ctx, &again, s)
		}
		return errors.Join(err, wire.close(context.WithoutCancel(ctx)))
	}})
}

// session runs a command in the place of a step's.
func (r *run) session(ctx context.Context, spec *sandbox.Spec, s Session) error {
	spec.Args, spec.Stdin, spec.Stdout, spec.Stderr = s.Args, s.Stdin, s.Stdout, s.Stderr
	spec.Terminal, spec.Rows, spec.Columns = s.Terminal, s.Rows, s.Columns
	spec.Times = nil
	spec.Env = slices.Concat(spec.Env, s.Env)
	if s.User != "" {
		spec.User = s.User
	}
	if s.Dir != "" {
		spec.Dir = s.Dir
	}
	p, err := r.Sandbox.Start(ctx, spec)
	if err != nil {
		return err
	}
	done := func() error { return nil }
	if s.Started != nil {
		if done, err = s.Started(p); err != nil {
			return errors.Join(err, p.Signal(os.Kill), p.Wait())
		}
	}
	return errors.Join(p.Wait(), done())
}

// readOnly is a tree that nobody writes.
func readOnly(r sandbox.Root) sandbox.Root {
	if r.Upper != "" {
		r.Lower, r.Upper, r.Work = append([]string{r.Upper}, r.Lower...), "", ""
	}
	r.Writable = false
	return r
}

// before lets somebody look at the tree that a step is about to begin with, whether it will run or not.
func (r *run) before(ctx context.Context, ref planner.StepRef) error {
	if r.Reached == nil {
		return nil
	}
	s := &r.graph.Steps[ref]
	env, dir, user := []string(nil), "", ""
	if op, ok := s.Op.(planner.Exec); ok {
		env, dir, user = op.Env, op.Dir, op.User
	}
	chain := r.input(s, 0).chain
	at := r.stopAt(chain, env, dir, user, func(ctx context.Context) error { _, err := r.fetch(ctx, ref); return err })
	at.Step, at.Span = s.Name, s.Span
	return r.Reached(ctx, at)
}

// stopResult lets somebody look at the result of a build that went well.
func (r *run) stopResult(ctx context.Context, img *image.Image) (err error) {
	chain := make([]image.ContentDigest, len(img.Layers))
	for i, l := range img.Layers {
		chain[i] = l.Content
		if l.Foreign() {
			if chain[i], err = r.Depot.AddBase(ctx, l); err != nil {
				return err
			}
		}
	}
	c := img.Config.Config
	at := r.stopAt(chain, c.Env, c.WorkingDir, c.User, func(context.Context) error { return nil })
	at.Step = "result"
	return r.Stopped(ctx, at)
}

// stopAt is the tree of a chain with the surroundings of a command. fetch brings what of it is elsewhere.
func (r *run) stopAt(chain []image.ContentDigest, env []string, dir, user string, fetch func(context.Context) error) Stopped {
	tree := func(ctx context.Context) (snapshot.ID, error) {
		if err := fetch(ctx); err != nil {
			return snapshot.ID{}, err
		}
		tree, err := r.Depot.Tree(ctx, chain)
		return tree.ID, err
	}
	return Stopped{Env: env, Root: func(ctx context.Context) (sandbox.Root, error) {
		id, err := tree(ctx)
		if err != nil {
			return sandbox.Root{}, err
		}
		m, err := r.Snapshots.Mount(ctx, id)
		return root(m), err
	}, Run: func(ctx context.Context, s Session) (err error) {
		id, err := tree(ctx)
		if err != nil {
			return err
		}
		active, err := r.Snapshots.Prepare(ctx, id)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Snapshots.Discard(context.WithoutCancel(ctx), active)) }()
		op := planner.Exec{}
		wire := r.wire(op)
		spec := &sandbox.Spec{Root: root(active.Mount()), Env: slices.Clone(env), Dir: dir, User: user}
		if err = wire.connect(spec, op); err == nil {
			err = r.session(ctx, spec, s)
		}
		return errors.Join(err, wire.close(context.WithoutCancel(ctx)))
	}}
}
