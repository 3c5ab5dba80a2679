package overlay

import (
	"context"
	"errors"
	"math"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
	"builder/snapshot"
)

// rebuild writes changes, whose files are in the diff own, as a new diff into
// the directory to. Files are shared by hard links, unless they are older than as is:
// then they are copied with times moved into its span.
func (s *Store) rebuild(ctx context.Context, own diff, to string, changes []snapshot.Change, as diff, below tree) (err error) {
	from, err := sys.OpenDir(s.diffPath(own.name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	dst, err := sys.OpenDir(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	move := own.begun < as.begun
	b := rebuilder{ctx: ctx, stray: stray{ctx: ctx, stack: s.stack(below)}, opaque: marks(s.o.UserXattr) + ".overlay.opaque", from: from}
	b.copier = sys.Copier{To: dst, Xattr: notOverlay, Share: !move}
	if move {
		if err := b.move(changes, as); err != nil {
			return err
		}
	}
	return b.all(changes)
}

type rebuilder struct {
	ctx    context.Context
	opaque string
	stray  stray
	from   sys.Dir
	copier sys.Copier
	dirs   []string // whose metadata is set when their children are done
}

// move has the times of the copies moved between those of as.
func (b *rebuilder) move(changes []snapshot.Change, as diff) error {
	oldest, newest := int64(math.MaxInt64), int64(math.MinInt64)
	for _, c := range changes {
		if c.Kind != snapshot.Modify {
			continue
		}
		err := in(b.from, c.Path, func(d sys.Dir, name string) error {
			st, err := d.Lstat(name)
			oldest, newest = min(oldest, st.Mtim.Nano()), max(newest, st.Mtim.Nano())
			return err
		})
		if err != nil {
			return err
		}
	}
	b.copier.Time = snapshot.After(oldest, newest, time.Unix(0, as.begun), time.Unix(0, as.born))
	return nil
}

// in calls f with the directory that p is in, opened, and the last part of p;
// for the root with the root and "".
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

func (b *rebuilder) all(changes []snapshot.Change) error {
	for _, c := range changes {
		if err := b.ctx.Err(); err != nil {
			return context.Cause(b.ctx)
		}
		if err := in(b.copier.To, c.Path, func(to sys.Dir, name string) error { return b.change(c, to, name) }); err != nil {
			return err
		}
	}
	for _, dir := range slices.Backward(b.dirs) {
		if err := b.meta(dir); err != nil {
			return err
		}
	}
	return nil
}

func (b *rebuilder) change(c snapshot.Change, to sys.Dir, name string) error {
	switch c.Kind {
	case snapshot.Delete:
		hides, err := b.stray.hides(c.Path)
		if err != nil || !hides {
			return err
		}
		return to.Whiteout(name)
	case snapshot.Opaque:
		return to.SetXattr(name, b.opaque, "y")
	}
	if c.Path == "" {
		b.dirs = append(b.dirs, "")
		return nil
	}
	return in(b.from, c.Path, func(from sys.Dir, name string) error {
		st, err := from.Lstat(name)
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			b.dirs = append(b.dirs, c.Path)
			return to.Mkdir(name)
		}
		return b.copier.File(from, name, &st, to, c.Path)
	})
}

// meta gives a directory the metadata of the one that it comes from.
func (b *rebuilder) meta(path string) error {
	from, err := b.from.OpenBelow(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := b.copier.To.OpenBelow(path)
	if err != nil {
		return err
	}
	defer to.Close()
	return b.copier.DirMeta(from, to)
}
