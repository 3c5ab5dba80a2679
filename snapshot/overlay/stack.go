package overlay

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// stack looks into the diffs of a tree as overlayfs does, without mounting them.
type stack struct {
	user  bool
	lower []string // topmost first
}

func (s *Store) stack(t tree) stack { return stack{s.o.UserXattr, s.lower(t, 1)} }

// names returns the names that the directories together show in the directory
// path, sorted; none where they have no such directory.
func (s stack) names(path string) ([]string, error) {
	seen := map[string]bool{} // name → visible
	for _, lower := range s.lower {
		names, last, err := s.layer(lower, path)
		if err != nil {
			return nil, err
		}
		for name, visible := range names {
			if _, ok := seen[name]; !ok {
				seen[name] = visible
			}
		}
		if last {
			break
		}
	}
	var names []string
	for name, visible := range seen {
		if visible {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// layer returns what one lower directory has in the directory path: names, and
// whether they stand for something or for its removal. last is true where no
// lower one counts any more.
func (s stack) layer(lower, path string) (names map[string]bool, last bool, err error) {
	d, err := sys.OpenDir(lower)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			break // the root
		}
		sub, err := d.OpenDir(part)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, last, nil
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			return nil, true, nil
		case err != nil:
			return nil, false, err
		}
		if err := d.Close(); err != nil {
			return nil, false, errors.Join(err, sub.Close())
		}
		d = sub
		opaque, err := isOpaque(d, s.user)
		if err != nil {
			return nil, false, err
		}
		last = last || opaque
	}
	names, err = s.visible(d)
	return names, last, err
}

func (s stack) visible(d sys.Dir) (map[string]bool, error) {
	list, err := d.Names()
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(list))
	for _, name := range list {
		st, err := d.Lstat(name)
		if err != nil {
			return nil, err
		}
		white, err := isWhiteout(d, name, &st, s.user)
		if err != nil {
			return nil, err
		}
		names[name] = !white
	}
	return names, nil
}

// stray finds marks of removals that remove nothing. Where a directory stands in
// one diff alone, overlayfs shows its names without looking at them, marks
// too.
type stray struct {
	ctx   context.Context
	stack stack
	// dir and names are what the stack showed last.
	dir   string
	names []string
	asked bool
}

// hides reports whether the stack shows something at path that a mark there
// would hide.
func (s *stray) hides(path string) (bool, error) {
	dir, name := filepath.Split(path)
	dir = strings.TrimSuffix(dir, "/")
	if !s.asked || dir != s.dir {
		names, err := s.stack.names(dir)
		if err != nil {
			return false, err
		}
		s.dir, s.names, s.asked = dir, names, true
	}
	_, ok := slices.BinarySearch(s.names, name)
	return ok, nil
}

// remove removes the stray marks below d, whose path is path.
func (s *stray) remove(d sys.Dir, path string) error {
	if err := s.ctx.Err(); err != nil {
		return context.Cause(s.ctx)
	}
	entries, err := d.Dirents(make([]byte, 16<<10))
	if err != nil {
		return err
	}
	for _, e := range entries {
		at := filepath.Join(path, e.Name)
		kind := e.Type
		if kind == unix.DT_UNKNOWN {
			st, err := d.Lstat(e.Name)
			if err != nil {
				return err
			}
			kind = uint8(st.Mode & unix.S_IFMT >> 12)
		}
		switch kind {
		case unix.DT_DIR:
			err = s.removeIn(d, e.Name, at)
		case unix.DT_CHR:
			err = s.removeOne(d, e.Name, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *stray) removeIn(d sys.Dir, name, path string) error {
	sub, err := d.OpenDir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return s.remove(sub, path)
}

func (s *stray) removeOne(d sys.Dir, name, path string) error {
	st, err := d.Lstat(name)
	if err != nil || st.Rdev != 0 {
		return err
	}
	hides, err := s.hides(path)
	if err != nil || hides {
		return err
	}
	// The time of the directory is that of what it holds, not of this.
	before, err := d.Lstat("")
	if err != nil {
		return err
	}
	if err := d.RemoveAll(name); err != nil {
		return err
	}
	return d.SetTime("", before.Mtim.Nano())
}
