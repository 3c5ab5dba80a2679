package overlay

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

const (
	// maxDiffs is how many diffs a tree may have. The kernel takes 500 lower
	// directories; a writable tree needs one place above these.
	maxDiffs = 400
	// mergedDiffs is how many of the lowest become one where there are too many:
	// most of them, so that it is seldom done.
	mergedDiffs = 300
)

// shorten returns diffs with room for one more. Where there is none, the lowest
// are merged into one, whose files are in the temporary directory merged.
func (s *Store) shorten(ctx context.Context, diffs []diff) (short []diff, merged string, err error) {
	if len(diffs) < maxDiffs {
		return append(make([]diff, 0, len(diffs)+1), diffs...), "", nil
	}
	dir, err := s.fresh(tree{})
	if err != nil {
		return nil, "", err
	}
	if err := s.mergeInto(ctx, filepath.Join(dir, "fs"), diffs[:mergedDiffs]); err != nil {
		return nil, dir, err
	}
	one := diff{newName(), diffs[0].begun, diffs[mergedDiffs-1].born}
	short = append(make([]diff, 0, len(diffs)-mergedDiffs+2), one)
	return append(short, diffs[mergedDiffs:]...), dir, nil
}

// mergeInto makes the directory to what an overlay of diffs, which have nothing
// below them, shows. Files are shared by hard links, so times and the groups of hard links
// stay as they are.
func (s *Store) mergeInto(ctx context.Context, to string, diffs []diff) (err error) {
	dst, err := sys.OpenDir(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	for _, d := range diffs {
		m := merger{ctx: ctx, user: s.o.UserXattr, copier: sys.Copier{To: dst, Xattr: notOverlay, Share: true}}
		if err := m.lay(s.diffPath(d.name), dst); err != nil {
			return err
		}
	}
	return nil
}

// merger lays one diff over a directory.
type merger struct {
	ctx    context.Context
	user   bool
	copier sys.Copier
}

func (m *merger) lay(diff string, dst sys.Dir) error {
	src, err := sys.OpenDir(diff)
	if err != nil {
		return err
	}
	defer src.Close()
	return m.dir(src, dst, "")
}

// dir lays what src holds over dst, whose path is path.
func (m *merger) dir(src, dst sys.Dir, path string) error {
	if err := m.ctx.Err(); err != nil {
		return context.Cause(m.ctx)
	}
	names, err := src.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.entry(src, dst, name, filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return m.copier.DirMeta(src, dst)
}

func (m *merger) entry(src, dst sys.Dir, name, path string) error {
	st, err := src.Lstat(name)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return m.subdir(src, dst, name, path)
	}
	if err := dst.RemoveAll(name); err != nil {
		return err
	}
	gone, err := isWhiteout(src, name, &st, m.user)
	if gone || err != nil {
		return err
	}
	return m.copier.File(src, name, &st, dst, path)
}

func (m *merger) subdir(src, dst sys.Dir, name, path string) error {
	from, err := src.OpenDir(name)
	if err != nil {
		return err
	}
	defer from.Close()
	opaque, err := isOpaque(from, m.user)
	if err != nil {
		return err
	}
	if err := makeDir(dst, name, opaque); err != nil {
		return err
	}
	to, err := dst.OpenDir(name)
	if err != nil {
		return err
	}
	defer to.Close()
	return m.dir(from, to, path)
}

// makeDir makes sure that there is a directory, an empty one where it hides what
// was there.
func makeDir(d sys.Dir, name string, opaque bool) error {
	st, err := d.Lstat(name)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && !opaque {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := d.RemoveAll(name); err != nil {
		return err
	}
	return d.Mkdir(name)
}

// isWhiteout reports whether what is called name in d, and is described by st,
// stands for a path that was removed: a character device 0:0, or an empty file that is
// marked as such.
func isWhiteout(d sys.Dir, name string, st *unix.Stat_t, user bool) (bool, error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return st.Rdev == 0, nil
	case unix.S_IFREG:
		if st.Size > 0 {
			return false, nil
		}
		_, ok, err := d.Xattr(name, marks(user)+".overlay.whiteout")
		return ok, err
	}
	return false, nil
}

// isOpaque reports whether the directory d hides all that is below it.
func isOpaque(d sys.Dir, user bool) (bool, error) {
	value, ok, err := d.Xattr("", marks(user)+".overlay.opaque")
	return ok && string(value) == "y", err
}
