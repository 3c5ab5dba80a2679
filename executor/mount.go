package executor

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"builder/cache"
	"builder/executor/fileop"
	"builder/executor/sandbox"
	"builder/image"
	"builder/image/layer"
	"builder/internal/depot"
	"builder/internal/diag"
	"builder/internal/progress"
	"builder/planner"
	"builder/snapshot"
)

// execWork says how a RUN is answered. What its mounts show is looked up as the
// source of a COPY is: first the whole tree, then what is shown of it.
func (r *run) execWork(w *work, op planner.Exec) {
	w.wide = execParts(op, w.root.chain, func(p *parts, i int) {
		m := op.Mounts[i]
		p.add("mount.source", m.Source)
		p.chain("mount.from", r.input(w.step, m.Input).chain)
	})
	if slices.ContainsFunc(op.Mounts, func(m planner.Mount) bool { return m.Input > 0 }) {
		w.narrow = func(ctx context.Context) (cache.Parts, error) {
			digests := make([]string, len(op.Mounts))
			for i, m := range op.Mounts {
				if m.Input == 0 {
					continue
				}
				var err error
				if digests[i], err = r.shownDigest(ctx, w.step, m); err != nil {
					return nil, r.blameAt(m.Span, err)
				}
			}
			return execParts(op, w.root.chain, func(p *parts, i int) { p.add("mount.shown", digests[i]) }), nil
		}
	}
	w.build = func(ctx context.Context) (image.ContentDigest, error) { return r.exec(ctx, w, op) }
}

// shownDigest is the digest of what a mount shows of its input.
func (r *run) shownDigest(ctx context.Context, s *planner.Step, m planner.Mount) (string, error) {
	if _, err := r.fetch(ctx, s.Inputs[m.Input]); err != nil {
		return "", err
	}
	files := r.Depot.Files(r.input(s, m.Input).chain)
	view, err := files.View(ctx)
	var selection *fileop.Selection
	if err == nil {
		selection, err = fileop.SelectShown(m.Source, view)
	}
	if err = errors.Join(err, files.Close()); err != nil {
		return "", err
	}
	digest := selection.Digest()
	return hex.EncodeToString(digest[:]), nil
}

// shown is what a step is shown besides its root, as long as it runs.
type shown struct {
	*run
	work    *work
	mounts  []sandbox.Mount
	env     []string
	secrets [][]byte // the values that it is shown
	caches  map[cacheName]*cache.Mount
	times   *times            // nil where the step uses no caches
	active  []snapshot.Active // trees that can be written to, and are forgotten
}

// cacheName tells the caches of a step apart.
type cacheName struct{ id, begin string }

// open makes everything ready that the step's mounts show.
func (s *shown) open(ctx context.Context, op planner.Exec) error {
	err := s.lockCaches(ctx, op.Mounts)
	if err == nil {
		s.times, err = s.newTimes()
	}
	if err == nil && s.times != nil {
		err = s.times.ofRoot(ctx, op)
	}
	if err != nil {
		return err
	}
	for _, m := range op.Mounts {
		if err := s.add(ctx, m); err != nil {
			return s.blameAt(m.Span, err)
		}
	}
	s.volumes(op)
	if s.times != nil {
		return s.times.write()
	}
	return nil
}

// close lets go of it when the step has ended.
func (s *shown) close(ctx context.Context) error {
	var errs []error
	for _, a := range s.active {
		errs = append(errs, s.Snapshots.Discard(ctx, a))
	}
	for _, c := range s.caches {
		errs = append(errs, c.Done(), c.Close())
	}
	return errors.Join(errs...)
}

func (s *shown) add(ctx context.Context, m planner.Mount) error {
	switch m.Type {
	case planner.MountBind:
		return s.bind(ctx, m)
	case planner.MountCache:
		dir := s.caches[s.cacheName(m)].Dir()
		path := m.Source
		if m.Input > 0 {
			path = beginName
		}
		s.mounts = append(s.mounts, sandbox.Mount{Target: m.Target, Source: dir, Path: path, ReadOnly: m.ReadOnly, Stubs: true})
	case planner.MountTmpfs:
		s.mounts = append(s.mounts, sandbox.Mount{Target: m.Target, Size: m.Size, ReadOnly: m.ReadOnly})
	case planner.MountSecret:
		return s.secret(m)
	case planner.MountSSH:
		return s.agent(m)
	}
	return nil
}

// volumes shows what the command line wants every step to see, but where the step
// itself mounts something.
func (s *shown) volumes(op planner.Exec) {
	for _, v := range op.Volumes {
		if !slices.ContainsFunc(op.Mounts, func(m planner.Mount) bool { return m.Target == v.Target }) {
			s.mounts = append(s.mounts, sandbox.Mount{Target: v.Target, Source: v.Source, ReadOnly: v.ReadOnly})
		}
	}
	slices.SortStableFunc(s.mounts, func(a, b sandbox.Mount) int { return cmp.Compare(a.Target, b.Target) })
}

// bind shows a tree. What is written to it is forgotten.
func (s *shown) bind(ctx context.Context, m planner.Mount) error {
	if _, err := s.fetch(ctx, s.work.step.Inputs[m.Input]); err != nil {
		return err
	}
	tree, err := s.Depot.Tree(ctx, s.input(s.work.step, m.Input).chain)
	if err != nil {
		return err
	}
	var times []sandbox.Time
	if s.times != nil {
		if times, err = s.times.ofBind(ctx, m); err != nil {
			return err
		}
	}
	var mount snapshot.Mount
	if m.ReadOnly && len(times) == 0 {
		mount, err = s.Snapshots.Mount(ctx, tree.ID)
	} else {
		var active snapshot.Active
		if active, err = s.Snapshots.Prepare(ctx, tree.ID); err == nil {
			s.active = append(s.active, active)
			mount = active.Mount()
		}
	}
	if err != nil {
		return err
	}
	from := root(mount)
	s.mounts = append(s.mounts, sandbox.Mount{Target: m.Target, Tree: &from, Path: m.Source, ReadOnly: m.ReadOnly, Times: times})
	return nil
}

// secret shows a secret. One that the build does not have is no file and an empty
// variable, unless it is required.
func (s *shown) secret(m planner.Mount) error {
	value, ok, err := []byte(nil), false, error(nil)
	if s.Grants != nil {
		value, ok, err = s.Grants.Secret(m.ID)
	}
	if err != nil {
		return diag.Errorf(m.Span, "secret %s: %v", m.ID, err)
	}
	if !ok {
		if m.Required {
			return diag.Errorf(m.Span, "secret %s: not found", m.ID).WithHint("give it with --secret id=%s,src=PATH or --secret id=%s,env=NAME", m.ID, m.ID)
		}
		if m.Env != nil { // it hides what the recipe calls so, and is empty
			s.env = append(s.env, *m.Env+"=")
		}
		return nil
	}
	s.secrets = append(s.secrets, value)
	if m.Env != nil {
		s.env = append(s.env, *m.Env+"="+string(value))
	}
	if m.Target != "" {
		private := &sandbox.Private{Data: value, Mode: 0o400}
		own(private, m.Owner)
		s.mounts = append(s.mounts, sandbox.Mount{Target: m.Target, Private: private, ReadOnly: true})
	}
	return nil
}

// agent shows the socket of an SSH agent, as secret shows a secret.
func (s *shown) agent(m planner.Mount) error {
	private := &sandbox.Private{Mode: 0o600}
	ok := false
	if s.Grants != nil {
		private.Serve, ok = s.Grants.Agent(m.ID)
	}
	if !ok {
		if m.Required {
			return diag.Errorf(m.Span, "no SSH agent %q is given to the build", m.ID).WithHint("give one with --ssh %s, --ssh %s=SOCKET or --ssh %s=KEY", m.ID, m.ID, m.ID)
		}
		return nil
	}
	own(private, m.Owner)
	s.mounts = append(s.mounts, sandbox.Mount{Target: m.Target, Private: private})
	return nil
}

func own(p *sandbox.Private, o *planner.Owner) {
	if o != nil {
		p.Mode, p.UID, p.GID = o.Mode, o.UID, o.GID
	}
}

// cacheName says which cache a mount means: those that begin with something else
// are others.
func (s *shown) cacheName(m planner.Mount) cacheName {
	name := cacheName{id: m.ID}
	if m.Owner != nil {
		name.begin = m.Owner.String()
	}
	if m.Input > 0 {
		name.begin = "path " + m.Source
		for _, c := range s.input(s.work.step, m.Input).chain {
			name.begin += " " + c.String()
		}
	}
	return name
}

// lockCaches takes the step's caches, in the order of their names: no two steps
// wait for each other. A cache that is mounted twice is taken once, as its first mount says.
func (s *shown) lockCaches(ctx context.Context, mounts []planner.Mount) error {
	s.caches = map[cacheName]*cache.Mount{}
	var list []planner.Mount
	for _, m := range mounts {
		if m.Type == planner.MountCache {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(x, y planner.Mount) int {
		a, b := s.cacheName(x), s.cacheName(y)
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.begin, b.begin))
	})
	for _, m := range list {
		name := s.cacheName(m)
		if s.caches[name] != nil {
			continue
		}
		spec := cache.MountSpec{ID: name.id, Begin: name.begin, Alone: m.Sharing != planner.SharingShared, Wait: m.Sharing == planner.SharingLocked}
		c, err := s.Cache.Mount(ctx, spec, func() { s.waitingFor(m) }, func(dir string) error { return s.begin(ctx, m, dir) })
		if err != nil {
			return err
		}
		s.caches[name] = c
	}
	return nil
}

func (s *shown) waitingFor(m planner.Mount) {
	s.Progress.Progress(progress.Output{Vertex: s.vertex(s.work.ref), Stream: progress.Stderr, Time: now(),
		Data: []byte("waiting for another step that uses the cache mounted at " + m.Target + "\n")})
}

// begin fills a new cache.
func (s *shown) begin(ctx context.Context, m planner.Mount, dir string) error {
	if m.Owner != nil {
		return chownDir(dir, m.Owner)
	}
	if m.Input == 0 {
		return nil
	}
	if _, err := s.fetch(ctx, s.work.step.Inputs[m.Input]); err != nil {
		return err
	}
	files := s.Depot.Files(s.input(s.work.step, m.Input).chain)
	err := s.copyOut(ctx, files, m.Source, dir)
	return errors.Join(err, files.Close())
}

// beginName is what the beginning of a cache is called in its directory: it may be
// a file.
const beginName = "begin"

// copyOut copies what path leads to in a tree to beginName in dir.
func (s *shown) copyOut(ctx context.Context, files *depot.Files, path, dir string) error {
	view, err := files.View(ctx)
	if err != nil {
		return err
	}
	op := planner.Copy{Sources: []string{path}, Dest: "/" + beginName, Literal: true}
	selection, err := fileop.SelectShown(path, view)
	if err != nil {
		return err
	}
	made, err := fileop.Copy(ctx, op, selection, fileop.Tree{View: layer.NewStack()}, fileop.CopyOptions{Source: files, Now: now(), Temp: s.Temp})
	if err != nil {
		return err
	}
	err = layer.WriteTree(ctx, dir, made.Index, made, layer.TreeOptions{})
	if err = errors.Join(err, made.Close()); err != nil {
		return err
	}
	// A copy leaves a directory's own metadata behind.
	top := selection.Entries()[0]
	if top.Type != layer.Dir {
		return nil
	}
	return chownDir(filepath.Join(dir, beginName), &planner.Owner{UID: top.UID, GID: top.GID, Mode: top.Mode})
}

// chownDir gives a directory that nobody else knows yet an owner and a mode.
func chownDir(dir string, o *planner.Owner) error {
	if err := os.Chown(dir, o.UID, o.GID); err != nil {
		return err
	}
	return unix.Chmod(dir, o.Mode&0o7777)
}
