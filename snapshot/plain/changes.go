package plain

import (
	"context"
	"errors"
	"iter"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
	"builder/snapshot"
)

// state is what tells a changed file from an unchanged one.
type state struct {
	ino, rdev      uint64
	mode, uid, gid uint32
	size           int64
	mtime, ctime   int64
}

func stateOf(st *unix.Stat_t) state {
	s := state{
		ino: st.Ino, rdev: st.Rdev, mode: st.Mode, uid: st.Uid, gid: st.Gid,
		size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(),
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		s.size = 0 // says nothing about a directory
	}
	return s
}

// node is one file of a listing; children are sorted by name and only a
// directory has them.
type node struct {
	name     string
	state    state
	children []node
}

// listing is a tree as it was at one moment.
type listing struct {
	root node
	// certain is the file system's clock at that moment: a file that was changed before
	// will show another ctime when it is changed again. The others may not.
	certain int64
}

// list notes the tree at dir.
func list(ctx context.Context, dir string) (listing, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
		return listing{}, err
	}
	d, err := sys.OpenDir(dir)
	if err != nil {
		return listing{}, err
	}
	defer d.Close()
	st, err := d.Lstat("")
	if err != nil {
		return listing{}, err
	}
	l := listing{root: node{state: stateOf(&st)}, certain: now.Nano()}
	l.root.children, err = listChildren(ctx, d)
	return l, err
}

func listChildren(ctx context.Context, d sys.Dir) ([]node, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	nodes := make([]node, len(names))
	for i, name := range names {
		st, err := d.Lstat(name)
		if err != nil {
			return nil, err
		}
		nodes[i] = node{name: name, state: stateOf(&st)}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		if nodes[i].children, err = listBelow(ctx, d, name); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

func listBelow(ctx context.Context, d sys.Dir, name string) ([]node, error) {
	sub, err := d.OpenDir(name)
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	return listChildren(ctx, sub)
}

// Changes compares the tree with what was noted when it was made. A directory
// that was made again is told path by path.
func (a *active) Changes(ctx context.Context) iter.Seq2[snapshot.Change, error] {
	return func(yield func(snapshot.Change, error) bool) {
		now, err := list(ctx, a.Dir())
		if err == nil {
			w := comparer{certain: a.before.certain, yield: yield}
			err = w.entry(&a.before.root, &now.root, "")
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(snapshot.Change{}, err)
		}
	}
}

// errStop ends a comparison whose caller wants no more.
var errStop = errors.New("stop")

type comparer struct {
	certain int64
	yield   func(snapshot.Change, error) bool
	// pending are the directories that the comparison is in and that are not listed
	// yet: they are when something below them is.
	pending []string
}

func (c *comparer) emit(path string, kind snapshot.Kind) error {
	for _, dir := range c.pending {
		if !c.yield(snapshot.Change{Path: dir}, nil) {
			return errStop
		}
	}
	c.pending = c.pending[:0]
	if !c.yield(snapshot.Change{Path: path, Kind: kind}, nil) {
		return errStop
	}
	return nil
}

// entry lists what is at path and below; before is nil where nothing was.
func (c *comparer) entry(before, now *node, path string) error {
	if c.changed(before, now) {
		if err := c.emit(path, snapshot.Modify); err != nil {
			return err
		}
	}
	if now.state.mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	var old []node
	if before != nil {
		old = before.children
	}
	if !c.changed(before, now) {
		c.pending = append(c.pending, path)
		defer func() { c.pending = slices.DeleteFunc(c.pending, func(dir string) bool { return dir == path }) }()
	}
	return c.children(old, now.children, path)
}

func (c *comparer) changed(before, now *node) bool {
	return before == nil || before.state != now.state || before.state.ctime >= c.certain
}

// children lists what was removed from a directory, then what is in it.
func (c *comparer) children(before, now []node, path string) error {
	for i := range before {
		if find(now, before[i].name) != nil {
			continue
		}
		if err := c.emit(filepath.Join(path, before[i].name), snapshot.Delete); err != nil {
			return err
		}
	}
	for i := range now {
		old := find(before, now[i].name)
		if err := c.entry(old, &now[i], filepath.Join(path, now[i].name)); err != nil {
			return err
		}
	}
	return nil
}

func find(nodes []node, name string) *node {
	i, ok := slices.BinarySearchFunc(nodes, name, func(n node, name string) int {
		switch {
		case n.name < name:
			return -1
		case n.name > name:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &nodes[i]
}
