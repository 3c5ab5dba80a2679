package fileop

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"builder/image/layer"
	"builder/planner"
)

// NotFoundError says that a source is not there. A pattern that matches nothing
// is no error.
type NotFoundError struct{ Path string } // from the root, with a leading slash

// Error returns the message that BuildKit ends with.
func (e *NotFoundError) Error() string { return fmt.Sprintf("%q: not found", e.Path) }

// Is makes the error one of [fs.ErrNotExist].
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// Selection is what the patterns of a COPY choose, in the order in which it is
// copied.
type Selection struct {
	op      planner.Copy
	matches []match
	entries []layer.Entry
	// passed are, in order, the directories among entries that were not chosen
	// themselves: something in them was.
	passed  []int
	links   map[linkKey]bool // groups of hard links; whether the first name is one of them
	layers  func(string) (int, bool)
	modes   bool   // the source's modes flow into the result
	heredoc []byte // of a selection that is a file from the recipe
	shown   bool   // where it lies, and not copied: a directory's own metadata counts, a file's name does not
}

// match is one path that a pattern matched.
type match struct {
	name       string // its last component, which a copy into a directory gets
	start, end int    // of what was chosen, itself first, among Selection.entries
}

// linkKey names a file with several names.
type linkKey struct {
	layer int
	path  string // the first name
}

// preloader is a view that reads its tree only as far as somebody looks, and
// faster if it knows that all of a subtree is wanted.
type preloader interface{ Preload(path string) }

// failer is a view whose reading can fail. Its answers count only if Err is nil afterwards.
type failer interface{ Err() error }

// Select resolves the patterns of op in src. Symbolic links on the way to a
// source and the source itself are followed, those below it are copied. A
// missing source is a [*NotFoundError].
//
// A src that reads lazily may have the methods Preload(path string), called when
// all below path is wanted, and Err() error, which says whether what it answered is true.
func Select(op planner.Copy, src layer.View) (*Selection, error) {
	mode, err := parseChmod(op.Chmod)
	if err != nil {
		return nil, err
	}
	s := &Selection{op: op, modes: mode.keeps(), links: map[linkKey]bool{}}
	if l, ok := src.(interface{ Layer(string) (int, bool) }); ok {
		s.layers = l.Layer
	}
	err = s.resolve(src)
	if f, ok := src.(failer); ok && f.Err() != nil {
		return nil, f.Err()
	}
	if err != nil {
		return nil, err
	}
	for key := range s.links {
		e, ok := src.Lookup(key.path)
		s.links[key] = ok && e.Type == layer.File && s.layer(key.path) == key.layer
	}
	return s, nil
}

// SelectShown selects what a process sees of a tree to which path is mounted.
// Links on the way are followed. A missing path is a [*NotFoundError].
func SelectShown(path string, src layer.View) (*Selection, error) {
	s, err := Select(planner.Copy{Sources: []string{path}, Literal: true}, src)
	if err != nil {
		return nil, err
	}
	s.shown = true
	return s, nil
}

// Entries returns what was chosen, under its paths in the source. The caller may
// set the digests of files; nothing else changes.
func (s *Selection) Entries() []layer.Entry { return s.entries }

// data says where the bytes of e are.
func (s *Selection) data(e *layer.Entry, from layer.Source) data {
	if s.heredoc != nil {
		return fromRecipe(s.heredoc)
	}
	return fromSource{e, from}
}

func (s *Selection) resolve(src layer.View) error {
	for i, pattern := range s.op.Sources {
		chosen, err := newFilter(s.op, i)
		if err != nil {
			return err
		}
		paths := []string{rooted(pattern)}
		if !s.op.Literal {
			if paths, err = expand(src, paths[0]); err != nil && !s.absent(err) {
				return err
			}
		}
		for _, p := range paths {
			if err := s.add(src, p, chosen); err != nil && !s.absent(err) {
				return err
			}
		}
		if chosen.missing() && !s.op.Optional {
			return &NotFoundError{Path: "/" + path.Join(paths[0], s.op.Include[i])}
		}
	}
	return nil
}

// absent reports whether an error is a source that need not be there.
func (s *Selection) absent(err error) bool { return s.op.Optional && errors.Is(err, fs.ErrNotExist) }

// add chooses what p leads to and all that is in it, but for what the filter
// leaves behind.
func (s *Selection) add(src layer.View, p string, chosen *filter) error {
	real, err := resolve(src.Lookup, p)
	if err != nil {
		return &NotFoundError{Path: "/" + p}
	}
	e, ok := src.Lookup(real)
	if !ok {
		return &NotFoundError{Path: "/" + p}
	}
	if chosen != nil && chosen.exact && isLink(src, p) {
		return nil // nothing is found in a link: BuildKit does not follow it here
	}
	m := match{name: path.Base("/" + p), start: len(s.entries)}
	s.take(e)
	if e.Type == layer.Dir && chosen != nil {
		if err := s.takeSome(src, real, "", chosen, verdict{}); err != nil {
			return err
		}
	} else if e.Type == layer.Dir {
		if l, ok := src.(preloader); ok {
			l.Preload(real)
		}
		s.takeAll(src, real)
	}
	m.end = len(s.entries)
	s.matches = append(s.matches, m)
	return nil
}

func (s *Selection) takeAll(src layer.View, dir string) {
	for _, e := range src.ReadDir(dir) {
		s.take(e)
		if e.Type == layer.Dir {
			s.takeAll(src, e.Path)
		}
	}
}

func (s *Selection) take(e layer.Entry) {
	if e.Type == layer.Hardlink {
		s.links[linkKey{s.layer(e.Path), e.Link}] = false
	}
	if len(s.entries) == cap(s.entries) {
		s.entries = slices.Grow(s.entries, max(16, len(s.entries))) // append grows large ones by less
	}
	s.entries = append(s.entries, e)
}

// layer tells files of one name in different layers apart.
func (s *Selection) layer(p string) int {
	if s.layers == nil {
		return 0
	}
	i, _ := s.layers(p)
	return i
}

// group returns the group of hard links to which e belongs.
func (s *Selection) group(e *layer.Entry) (linkKey, bool) {
	if len(s.links) == 0 {
		return linkKey{}, false
	}
	switch e.Type {
	case layer.Hardlink:
		return linkKey{s.layer(e.Path), e.Link}, true
	case layer.File:
		key := linkKey{s.layer(e.Path), e.Path}
		return key, s.links[key]
	default:
		return linkKey{}, false
	}
}

// expand returns the paths that a pattern matches: each wildcard matches within
// one component, and the components before the first one with a wildcard may be
// links. A pattern without wildcards is returned as it is.
func expand(src layer.View, pattern string) ([]string, error) {
	var dir, rest []string
	for part := range strings.SplitSeq(pattern, "/") {
		if len(rest) > 0 || hasWildcard(part) {
			rest = append(rest, part)
		} else {
			dir = append(dir, part)
		}
	}
	if len(rest) == 0 {
		return []string{pattern}, nil
	}
	base, err := resolve(src.Lookup, path.Join(dir...))
	if err != nil {
		return nil, err
	}
	if _, ok := src.Lookup(base); !ok {
		return nil, &fs.PathError{Op: "lstat", Path: "/" + path.Join(dir...), Err: syscall.ENOENT}
	}
	g := globber{src: src, parts: rest, whole: strings.Join(rest, "/")}
	if _, err := filepath.Match(g.whole, ""); err != nil {
		return nil, fmt.Errorf("source %q: %w", "/"+pattern, err)
	}
	// A character class may match a slash, and a backslash hide one: then no
	// directory can be left out by looking at its own component.
	g.deep = strings.ContainsAny(g.whole, `[\`)
	g.walk(base, "", 0)
	return g.found, nil
}

// globber collects the paths below a directory that a pattern matches.
type globber struct {
	src   layer.View
	parts []string
	whole string
	deep  bool
	found []string
}

func (g *globber) walk(dir, rel string, depth int) {
	for _, e := range g.src.ReadDir(dir) {
		name := path.Base(e.Path)
		inner := join(rel, name)
		if ok, _ := filepath.Match(g.whole, inner); ok {
			g.found = append(g.found, e.Path)
			continue
		}
		if e.Type == layer.Dir && g.enters(name, depth) {
			g.walk(e.Path, inner, depth+1)
		}
	}
}

// enters reports whether the pattern can match in the directory name.
func (g *globber) enters(name string, depth int) bool {
	if g.deep {
		return true
	}
	if depth+1 >= len(g.parts) {
		return false
	}
	ok, _ := filepath.Match(g.parts[depth], name)
	return ok
}

// hasWildcard reports whether a component has an unescaped wildcard.
func hasWildcard(part string) bool {
	for i := 0; i < len(part); i++ {
		switch part[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}
