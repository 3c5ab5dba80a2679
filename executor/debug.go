package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"builder/executor/sandbox"
	"builder/image"
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
	Step string // as progress shows it
	Err  error  // why it failed; nil for the result of a build
	// Run runs a session and returns what its command ended with.
	Run func(context.Context, Session) error
}

// stop lets somebody look at a step that has failed. Its tree is thrown away afterwards, as is that of
// each step that fails.
func (r *run) stop(ctx context.Context, w *work, op planner.Exec, spec *sandbox.Spec, failed error) error {
	if r.Stopped == nil {
		return nil
	}
	return r.Stopped(ctx, Stopped{Step: w.step.Name, Err: failed, Run: func(ctx context.Context, s Session) error {
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
	tree, err := r.Depot.Tree(ctx, chain)
	if err != nil {
		return fmt.Errorf("tree of the result: %w", err)
	}
	var active snapshot.Active
	if active, err = r.Snapshots.Prepare(ctx, tree.ID); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Snapshots.Discard(context.WithoutCancel(ctx), active)) }()
	mount := root(active.Mount())
	mount.Durable = true
	return r.Stopped(ctx, Stopped{Step: "result", Run: func(ctx context.Context, s Session) error {
		op := planner.Exec{}
		wire := r.wire(op)
		c := img.Config.Config
		spec := &sandbox.Spec{Root: mount, Env: slices.Clone(c.Env), Dir: c.WorkingDir, User: c.User}
		err := wire.connect(spec, op)
		if err == nil {
			err = r.session(ctx, spec, s)
		}
		return errors.Join(err, wire.close(context.WithoutCancel(ctx)))
	}})
}
