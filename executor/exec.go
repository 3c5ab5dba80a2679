package executor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"builder/executor/network"
	"builder/executor/sandbox"
	"builder/image"
	"builder/image/layer"
	"builder/internal/diag"
	"builder/internal/progress"
	"builder/planner"
	"builder/snapshot"
)

// exec runs a process in a writable copy of its root and makes a layer of what
// it changed.
func (r *run) exec(ctx context.Context, w *work, op planner.Exec) (content image.ContentDigest, err error) {
	if _, err := r.fetch(ctx, w.ref); err != nil {
		return content, err
	}
	wire := r.wire(op)
	defer func() { err = errors.Join(err, wire.close(ctx)) }()
	parent, err := r.Depot.Tree(ctx, w.root.chain)
	if err != nil {
		return content, err
	}
	shown := &shown{run: r, work: w}
	defer func() { err = errors.Join(err, shown.close(context.WithoutCancel(ctx))) }()
	if err := shown.open(ctx, op); err != nil {
		return content, err
	}
	active, err := r.Snapshots.Prepare(ctx, parent.ID)
	if err != nil {
		return content, err
	}
	committed := false
	defer func() {
		if !committed {
			err = errors.Join(err, r.Snapshots.Discard(context.WithoutCancel(ctx), active))
		}
	}()
	if err := r.process(ctx, w, op, active, shown, wire); err != nil {
		return content, err
	}
	ix, err := r.Depot.Scan(ctx, w.root.chain, w.root.base, active, shown.times.mtime)
	if err != nil {
		return content, fmt.Errorf("read what the step wrote: %w", err)
	}
	if ix.Retold {
		return ix.Content(), r.retell(ctx, w, ix, active)
	}
	if err := errors.Join(shown.times.putBack(ix, active), layer.ResetRoot(active.Dir())); err != nil {
		return content, err
	}
	if _, err := r.Depot.Use(ix.Content()); err != nil { // one that is here already stays
		return content, err
	}
	tree, err := r.Snapshots.Commit(ctx, active, snapshot.Chain(parent.ID, ix.Content()))
	if err != nil {
		return content, err
	}
	committed = true
	return r.Depot.AddTree(ix, tree)
}

// retell makes the tree of a layer out of its index, where the process left
// another.
func (r *run) retell(ctx context.Context, w *work, ix *layer.Index, active snapshot.Active) error {
	files, err := layer.OpenDir(active.Dir())
	if err != nil {
		return err
	}
	_, err = r.Depot.WriteTree(ctx, w.root.chain, ix, files)
	return errors.Join(err, files.Close())
}

// process runs the step's process to its end.
func (r *run) process(ctx context.Context, w *work, op planner.Exec, active snapshot.Active, shown *shown, wire *wire) error {
	log := newStepLog(r, r.vertex(w.ref), filepath.Join(r.Logs, w.wide.Key().String()+".log"), shown.secrets)
	stderr := log.stream(progress.Stderr)
	spec := &sandbox.Spec{
		Root:     root(active.Mount()),
		Args:     op.Args,
		Env:      slices.Concat(op.Env, op.ProxyEnv, shown.env, deviceEnv(op.Devices)),
		Dir:      op.Dir,
		User:     op.User,
		Hostname: op.Hostname,
		Insecure: op.Insecure,
		Files:    files(op.Files),
		Mounts:   append(shown.mounts[:len(shown.mounts):len(shown.mounts)], binds(op.Devices)...),
		Times:    shown.times.ofMounted(),
		ShmSize:  op.ShmSize,
		Rlimits:  rlimits(op.Ulimits),
		Limits:   limits(op.Limits),
		Nodes:    nodes(op.Devices),
		Stdout:   log.stream(progress.Stdout),
		Stderr:   stderr,
	}
	spec.Root.Durable = r.Stopped != nil // its overlay may be mounted once more
	err := wire.connect(spec, op)
	if err == nil {
		err = errors.Join(r.Sandbox.Run(ctx, spec), wire.close(ctx))
		wire.tell(stderr)
	}
	if cerr := log.Close(); err == nil {
		err = cerr
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if failed := (*network.DeviceError)(nil); errors.As(err, &failed) {
		return noNetwork(w, failed)
	}
	if !ended(err) {
		return err
	}
	if serr := r.stop(ctx, w, op, spec, err); serr != nil {
		return errors.Join(err, serr)
	}
	e := diag.Errorf(w.step.Span, "process %q did not complete successfully: %v", strings.Join(op.Args, " "), err)
	e.Err, e.Detail = err, log.tail()
	if errors.Is(err, syscall.ENOEXEC) && op.Platform.Architecture != runtime.GOARCH {
		return e.WithHint("the step is for %s, and this machine runs no such programs: install qemu-user-static (with binfmt-support), which registers an emulator in /proc/sys/fs/binfmt_misc",
			image.FormatPlatform(op.Platform))
	}
	if name := log.kept(); name != "" {
		return e.WithHint("the whole output is in %s", name)
	}
	return e
}

// ended reports whether the step's own process is what went wrong.
func ended(err error) bool {
	return errors.As(err, new(*sandbox.ExitError)) || errors.As(err, new(*sandbox.CommandError))
}

// root translates the snapshotter's word into the sandbox's.
func root(m snapshot.Mount) sandbox.Root {
	return sandbox.Root{Source: m.Source, Lower: m.Lower, Upper: m.Upper, Work: m.Work, Writable: m.Writable, UserXattr: m.UserXattr}
}

func files(list []planner.File) []sandbox.File {
	var out []sandbox.File
	for _, f := range list {
		out = append(out, sandbox.File{Path: f.Name, Data: f.Data, Mode: f.Mode})
	}
	return out
}

func rlimits(list []planner.Ulimit) []sandbox.Rlimit {
	var out []sandbox.Rlimit
	for _, u := range list {
		out = append(out, sandbox.Rlimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return out
}

func limits(l planner.Limits) *sandbox.Limits {
	if l == (planner.Limits{}) {
		return nil
	}
	return &sandbox.Limits{
		Memory: l.Memory, MemorySwap: l.MemorySwap, CPUShares: l.CPUShares, CPUPeriod: l.CPUPeriod, CPUQuota: l.CPUQuota,
		CpusetCPUs: l.CpusetCPUs, CpusetMems: l.CpusetMems, Parent: l.Parent,
	}
}
