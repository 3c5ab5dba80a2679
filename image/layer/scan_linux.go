package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// Scan makes the index of a layer out of the directory dir, in which the changed
// files stand, and the list of changes, which may be in any order and list what
// did not change. Nobody writes to dir meanwhile.
//
// What is in the tree below with the same type, mode, owner, attributes, content
// and mtime (directories: whatever the mtime) is left out, as BuildKit does. What
// an opaque directory hides is listed as whiteouts. A file with the name of a
// whiteout becomes one, as it would for whoever unpacks it from the layer's tar
// (see [WhiteoutName]). The root is left out as well.
func Scan(ctx context.Context, dir string, changes iter.Seq2[Change, error], below View, o ScanOptions) (_ *Index, err error) {
	at, err := openCursor(dir)
	if err != nil {
		return nil, fmt.Errorf("scan layer: %w", err)
	}
	defer func() { err = errors.Join(err, at.close()) }()
	s := &scanner{at: at, root: dir, below: below, o: o, here: map[string]*change{}, opaque: map[string]bool{}}
	ix, err := s.scan(ctx, changes)
	if err != nil {
		return nil, fmt.Errorf("scan layer: %w", err)
	}
	return ix, nil
}

// scanner makes one index.
type scanner struct {
	at    *cursor
	root  string
	below View
	o     ScanOptions

	list   []*change          // what exists now, as listed
	here   map[string]*change // the same by path, directories only
	opaque map[string]bool    // directories that hide what is below
	marks  []string           // what files with the names of whiteouts say is gone
	out    []Entry
}

// change is a path that exists now.
type change struct {
	entry Entry
	id    inode    // of a file with several names
	same  bool     // as it is below
	pyc   [32]byte // of what may be a compiled Python file: the digest without the time
	stamp uint32   // and the time
	size  uint32
	maybe bool
}

type inode struct{ dev, ino uint64 }

func (s *scanner) scan(ctx context.Context, changes iter.Seq2[Change, error]) (*Index, error) {
	deleted, err := s.collect(ctx, changes)
	if err != nil {
		return nil, err
	}
	if err := s.digest(ctx); err != nil {
		return nil, err
	}
	if err := s.compare(); err != nil {
		return nil, err
	}
	if err := s.compiled(); err != nil {
		return nil, err
	}
	s.whiteouts(deleted)
	s.keep()
	if len(s.marks) > 0 {
		if s.out, err = addWhiteouts(s.out, s.marks); err != nil {
			return nil, err
		}
	}
	if err := s.parents(); err != nil {
		return nil, err
	}
	slices.SortFunc(s.out, compare)
	x := &Index{Entries: slices.CompactFunc(s.out, func(a, b Entry) bool { return Compare(&a, &b) == 0 }), Retold: len(s.marks) > 0}
	if err := x.relink(); err != nil {
		return nil, err
	}
	return x, x.check()
}

// collect describes all that exists now, and returns the paths that do not.
func (s *scanner) collect(ctx context.Context, changes iter.Seq2[Change, error]) (deleted []string, err error) {
	n := 0
	for c, err := range changes {
		if err != nil {
			return nil, err
		}
		if n++; n%256 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		switch {
		case c.Path == "":
			if c.Kind == Opaque {
				s.opaque[""] = true
			}
		case !isClean(c.Path):
			return nil, fmt.Errorf("path %q is not clean", c.Path)
		case c.Kind == Delete:
			deleted = append(deleted, c.Path)
		case c.Kind == Opaque:
			s.opaque[c.Path] = true
		default:
			if err := s.describe(c.Path); err != nil {
				return nil, err
			}
		}
	}
	return deleted, nil
}

// describe adds what stands at path, but for its digest.
func (s *scanner) describe(path string) error {
	parent, name := split(path)
	dir, err := s.at.dir(parent)
	if err != nil {
		return err
	}
	st, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	c := &change{entry: Entry{Path: path}}
	e := &c.entry
	describe(e, &st)
	if e.Type == 0 {
		return nil // a socket
	}
	if gone, ok := WhiteoutName(path); ok && e.Type != Dir {
		s.marks = append(s.marks, gone)
		return nil
	}
	switch {
	case e.Type == Symlink:
		if e.Link, err = dir.Readlink(name); err != nil {
			return err
		}
	default:
		if e.Xattrs, err = keptXattrs(dir, name, e.Type); err != nil {
			return err
		}
	}
	if e.Type == Dir {
		s.here[path] = c
	} else if st.Nlink > 1 {
		c.id = inode{st.Dev, st.Ino}
	}
	s.list = append(s.list, c)
	return nil
}

// compare finds what is as it is below.
func (s *scanner) compare() error {
	for _, c := range s.list {
		e := &c.entry
		old, ok := s.below.Lookup(e.Path)
		if !ok {
			continue
		}
		if old.Type == Hardlink {
			old.Type = File
			if first, ok := s.below.Lookup(old.Link); ok {
				old.Type, old.Link = first.Type, first.Link
			}
		}
		if !sameBytes(c, &old) || !sameMeta(e, &old) {
			continue
		}
		if e.Type != Dir && e.Mtime != old.Mtime || s.o.Mtime != nil && e.Type != Dir {
			mtime := old.Mtime
			if s.o.Mtime != nil {
				var err error
				if mtime, err = s.o.Mtime(old); err != nil {
					return err
				}
			}
			if mtime != e.Mtime {
				continue
			}
		}
		c.same = true
	}
	return nil
}

func sameMeta(a, b *Entry) bool {
	return a.Type == b.Type && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID &&
		a.Link == b.Link && a.Major == b.Major && a.Minor == b.Minor && slices.Equal(a.Xattrs, b.Xattrs)
}

// sameBytes compares contents. A compiled Python file below may be known without
// its time only.
func sameBytes(c *change, old *Entry) bool {
	if c.entry.Type != File || old.Type != File {
		return true
	}
	if old.Pyc > 0 {
		return c.maybe && c.entry.Size == old.Size && c.pyc == old.Digest
	}
	return c.entry.Size == old.Size && c.entry.Digest == old.Digest
}

// compiled finds the compiled Python files whose headers repeat the time of a
// source that was made here.
func (s *scanner) compiled() error {
	var files map[string]*change
	for _, c := range s.list {
		if !c.maybe || c.same {
			continue
		}
		source, ok := pycSource(c.entry.Path)
		if !ok {
			continue
		}
		if files == nil {
			files = s.files()
		}
		place, mtime, size, ok, err := s.source(files, followSource(source, s.lookup(files)))
		if err != nil {
			return err
		}
		if ok && uint32(mtime/1e9) == c.stamp && uint32(size) == c.size {
			c.entry.Pyc, c.entry.Digest = place, c.pyc
		}
	}
	return nil
}

// lookup looks into what changed and then below.
func (s *scanner) lookup(files map[string]*change) func(string) (Entry, bool) {
	return func(path string) (Entry, bool) {
		if c := files[path]; c != nil {
			return c.entry, true
		}
		return s.below.Lookup(path)
	}
}

func (s *scanner) files() map[string]*change {
	files := make(map[string]*change, len(s.list))
	for _, c := range s.list {
		files[c.entry.Path] = c
	}
	return files
}

// source finds the source of a compiled Python file: 1 + the number of places
// that its layer lies below this one, its mtime in the tree, and its size.
func (s *scanner) source(files map[string]*change, path string) (place uint8, mtime, size int64, ok bool, err error) {
	if c := files[path]; c != nil && !c.same {
		return 1, c.entry.Mtime, c.entry.Size, c.entry.Type == File, nil
	}
	e, ok := s.below.Lookup(path)
	if !ok || e.Type != File && e.Type != Hardlink || !s.standsBelow(path) {
		return 0, 0, 0, false, nil
	}
	layers, ok := s.below.(interface {
		Len() int
		Layer(path string) (int, bool)
	})
	if !ok {
		return 0, 0, 0, false, nil
	}
	n, ok := layers.Layer(path)
	down := layers.Len() - n
	if !ok || n < s.o.Foreign || down > 254 {
		return 0, 0, 0, false, nil
	}
	mtime = e.Mtime
	if s.o.Mtime != nil {
		if mtime, err = s.o.Mtime(e); err != nil {
			return 0, 0, 0, false, err
		}
	}
	return uint8(1 + down), mtime, e.Size, true, nil
}

// standsBelow reports whether a path of the tree below still is there: neither
// removed nor hidden. Whoever asks knows already that it has not changed.
func (s *scanner) standsBelow(path string) bool {
	for {
		dir, _ := split(path)
		if s.opaque[dir] {
			return false
		}
		if dir == "" {
			return true
		}
		path = dir
	}
}

// whiteouts adds what was below and is no more.
func (s *scanner) whiteouts(deleted []string) {
	for _, path := range deleted {
		if _, ok := s.below.Lookup(path); ok {
			s.out = append(s.out, Entry{Path: path, Type: Whiteout})
		}
	}
	if len(s.opaque) == 0 {
		return
	}
	names := s.names()
	for _, dir := range slices.Sorted(maps.Keys(s.opaque)) {
		s.hidden(dir, names)
	}
}

// names returns the paths that exist now.
func (s *scanner) names() map[string]bool {
	names := make(map[string]bool, len(s.list))
	for _, c := range s.list {
		names[c.entry.Path] = true
	}
	return names
}

// hidden adds what was below in an opaque directory and is not there now. A
// directory in it hides as well, whether it is marked or not.
func (s *scanner) hidden(dir string, now map[string]bool) {
	for _, old := range s.below.ReadDir(dir) {
		switch {
		case !now[old.Path]:
			s.out = append(s.out, Entry{Path: old.Path, Type: Whiteout})
		case old.Type == Dir && s.here[old.Path] != nil:
			s.hidden(old.Path, now)
		}
	}
}

// keep moves what has changed to the result, names of one file as links.
func (s *scanner) keep() {
	first := map[inode]string{}
	slices.SortFunc(s.list, func(a, b *change) int { return Compare(&a.entry, &b.entry) })
	for _, c := range s.list {
		if c.same {
			continue
		}
		if path, ok := first[c.id]; ok {
			s.out = append(s.out, Entry{Path: c.entry.Path, Type: Hardlink, Link: path})
			continue
		}
		if c.id != (inode{}) {
			first[c.id] = c.entry.Path
		}
		s.out = append(s.out, c.entry)
	}
}

// parents adds the directories that are there only for what is in them.
func (s *scanner) parents() error {
	there := map[string]bool{"": true}
	for i := range s.out {
		if s.out[i].Type == Dir {
			there[s.out[i].Path] = true
		}
	}
	for _, e := range s.out[:len(s.out):len(s.out)] {
		for dir, _ := split(e.Path); !there[dir]; dir, _ = split(dir) {
			there[dir] = true
			parent, err := s.parent(dir)
			if err != nil {
				return err
			}
			parent.Parent = true
			s.out = append(s.out, parent)
		}
	}
	return nil
}

// parent describes a directory that did not change: as it stands in dir, or
// where it does not, as it is below.
func (s *scanner) parent(path string) (Entry, error) {
	if c := s.here[path]; c != nil {
		return c.entry, nil
	}
	up, name := split(path)
	dir, err := s.at.dir(up)
	if err == nil {
		var st unix.Stat_t
		if st, err = dir.Lstat(name); err == nil {
			e := Entry{Path: path}
			describe(&e, &st)
			e.Xattrs, err = keptXattrs(dir, name, Dir)
			if e.Type != Dir {
				err = fmt.Errorf("%s: %w", path, unix.ENOTDIR)
			}
			return e, err
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Entry{}, err
	}
	e, ok := s.below.Lookup(path)
	if !ok || e.Type != Dir {
		return Entry{}, fmt.Errorf("%s: %w", path, unix.ENOTDIR)
	}
	return e, nil
}
