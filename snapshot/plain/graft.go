package plain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
	"builder/snapshot"
)

// Graft makes the tree id of a copy of parent and the changes that the own layer
// of from makes.
func (s *Store) Graft(ctx context.Context, parent, id, from snapshot.ID, changes iter.Seq[snapshot.Change]) (snapshot.Tree, error) {
	if n, ok, err := s.load(id); ok || err != nil {
		return s.public(n), err
	}
	tree, err := s.graft(ctx, parent, id, from, slices.Collect(changes))
	if err != nil {
		return tree, fmt.Errorf("graft %s onto %s: %w", from, parent, err)
	}
	return tree, nil
}

func (s *Store) graft(ctx context.Context, parent, id, from snapshot.ID, changes []snapshot.Change) (snapshot.Tree, error) {
	below, err := s.mustLoad(parent)
	if err != nil {
		return snapshot.Tree{}, err
	}
	source, err := s.mustLoad(from)
	if err != nil {
		return snapshot.Tree{}, err
	}
	if from.IsZero() {
		return snapshot.Tree{}, errors.New("the empty tree has no layer")
	}
	dir, err := s.copy(ctx, below)
	if err != nil {
		return snapshot.Tree{}, err
	}
	n := note{id: id, parent: parent, begun: source.begun, born: source.born}
	p := patcher{ctx: ctx}
	err = p.open(s.source(source), filepath.Join(dir, "fs"))
	if err == nil && source.begun < below.born {
		n.begun, n.born = below.born, s.now(below)
		err = p.move(changes, time.Unix(0, n.begun), time.Unix(0, n.born))
	}
	if err == nil {
		err = p.apply(changes)
	}
	if err = errors.Join(err, p.close()); err != nil {
		return snapshot.Tree{}, errors.Join(err, s.discard(dir))
	}
	return s.publish(n, dir)
}

// patcher copies paths from one tree over another.
type patcher struct {
	ctx      context.Context
	from, to sys.Dir
	opened   []sys.Dir
	copier   sys.Copier
	dirs     []string // whose metadata is to be set when their children are done
}

func (p *patcher) open(from, to string) error {
	for _, dir := range []struct {
		d    *sys.Dir
		path string
	}{{&p.from, from}, {&p.to, to}} {
		d, err := sys.OpenDir(dir.path)
		if err != nil {
			return err
		}
		*dir.d = d
		p.opened = append(p.opened, d)
	}
	p.copier.To = p.to
	return nil
}

func (p *patcher) close() error {
	var errs []error
	for _, d := range p.opened {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// move has the copies' times moved between born and now.
func (p *patcher) move(changes []snapshot.Change, born, now time.Time) error {
	oldest, newest := int64(math.MaxInt64), int64(math.MinInt64)
	for _, c := range changes {
		if c.Kind != snapshot.Modify {
			continue
		}
		err := in(p.from, c.Path, func(d sys.Dir, name string) error {
			st, err := d.Lstat(name)
			oldest, newest = min(oldest, st.Mtim.Nano()), max(newest, st.Mtim.Nano())
			return err
		})
		if err != nil {
			return err
		}
	}
	p.copier.Time = snapshot.After(oldest, newest, born, now)
	return nil
}

// in calls f with the directory that path is in, opened, and the last part of
// path; for the root with the root and "".
func in(root sys.Dir, p string, f func(d sys.Dir, name string) error) error {
	if p == "" {
		return f(root, "")
	}
	dir, name := path.Split(p)
	d, err := root.OpenBelow(path.Clean(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	return f(d, name)
}

func (p *patcher) apply(changes []snapshot.Change) error {
	for _, c := range changes {
		if err := p.ctx.Err(); err != nil {
			return context.Cause(p.ctx)
		}
		if err := p.change(c); err != nil {
			return err
		}
	}
	for _, dir := range slices.Backward(p.dirs) {
		if err := p.meta(dir); err != nil {
			return err
		}
	}
	return nil
}

func (p *patcher) change(c snapshot.Change) error {
	switch c.Kind {
	case snapshot.Delete:
		err := in(p.to, c.Path, func(d sys.Dir, name string) error { return d.RemoveAll(name) })
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			return nil
		}
		return err
	case snapshot.Opaque:
		d, err := p.to.OpenBelow(c.Path)
		if err != nil {
			return err
		}
		defer d.Close()
		return d.Empty()
	}
	if c.Path == "" {
		p.dirs = append(p.dirs, "")
		return nil
	}
	return in(p.from, c.Path, func(from sys.Dir, name string) error {
		return in(p.to, c.Path, func(to sys.Dir, _ string) error {
			return p.modify(from, to, name, c.Path)
		})
	})
}

func (p *patcher) modify(from, to sys.Dir, name, path string) error {
	st, err := from.Lstat(name)
	if err != nil {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if isDir {
		p.dirs = append(p.dirs, path)
		have, err := to.Lstat(name)
		if err == nil && have.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil
		}
	}
	if err := to.RemoveAll(name); err != nil {
		return err
	}
	if isDir {
		return to.Mkdir(name)
	}
	return p.copier.File(from, name, &st, to, path)
}

// meta gives a directory the metadata of the one that it comes from.
func (p *patcher) meta(path string) error {
	from, err := p.from.OpenBelow(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := p.to.OpenBelow(path)
	if err != nil {
		return err
	}
	defer to.Close()
	return p.copier.DirMeta(from, to)
}
