package fileop

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"builder/image/layer"
	"builder/planner"
)

// dirMode is the mode of directories that nobody asked for.
const dirMode = 0o755

// Tree is a tree that is copied into.
type Tree struct {
	View *layer.Stack
	// Files gives the contents of the tree's files.
	Files layer.Source
	// Base is how many of View's lowest layers the build has not made.
	Base int
}

// CopyOptions are what [Copy] needs besides the recipe.
type CopyOptions struct {
	// Source gives the contents of what was selected.
	Source layer.Source
	// More are what comes from further sources, one for each of planner.Copy.More.
	More []Chosen
	// Now is what the time of writing is.
	Now time.Time
	// Temp is the directory for the contents of archives. It is needed where
	// planner.Copy.Unpack is set; a file in it is gone when the result is closed.
	Temp string
}

// Chosen is a selection with the source that it is from.
type Chosen struct {
	Selection *Selection
	Source    layer.Source
}

// Copy computes the layer that op adds to dst. Files that were selected must have
// their digests. Close the result.
func Copy(ctx context.Context, op planner.Copy, sel *Selection, dst Tree, o CopyOptions) (_ *Result, err error) {
	own, err := findOwner(ctx, op.Chown, dst)
	if err != nil {
		return nil, err
	}
	mode, err := parseChmod(op.Chmod)
	if err != nil {
		return nil, err
	}
	c := &copier{
		tree: newTree(dst.View, o.Now.UnixNano()), op: op, own: own, mode: mode,
		source: o.Source, dst: dst, spool: &spool{dir: o.Temp},
	}
	c.tree.keep = op.KeepTimes
	defer func() {
		if err != nil {
			err = errors.Join(err, c.spool.Close())
		}
	}()
	for i, part := range append([]Chosen{{sel, o.Source}}, o.More...) {
		c.op, c.source = op.Parts()[i], part.Source
		if err := c.copyAll(ctx, part.Selection); err != nil {
			return nil, err
		}
	}
	for _, f := range op.Files {
		if err := c.copyMatch(inline(f)); err != nil {
			return nil, err
		}
	}
	return c.result()
}

// copier copies into a tree.
type copier struct {
	tree   *tree
	op     planner.Copy
	own    *owner // of everything, where --chown says so
	mode   chmod  // of everything
	source layer.Source
	dst    Tree
	spool  *spool
}

func (c *copier) copyAll(ctx context.Context, sel *Selection) error {
	for _, m := range sel.matches {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if c.op.Unpack {
			done, err := c.unpack(ctx, &sel.entries[m.start])
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		if err := c.copyMatch(sel, m); err != nil {
			return err
		}
	}
	return nil
}

// inline makes a selection of a file that stands in the recipe.
func inline(f planner.File) (*Selection, match) {
	mode := f.Mode
	if mode == 0 {
		mode = 0o644
	}
	if f.Data == nil {
		f.Data = []byte{}
	}
	e := layer.Entry{Path: f.Name, Type: layer.File, Mode: mode, Size: int64(len(f.Data)), Digest: sha256.Sum256(f.Data)}
	s := &Selection{entries: []layer.Entry{e}, heredoc: f.Data}
	return s, match{name: path.Base(rooted(f.Name)), end: 1}
}

// copyMatch copies one match to the destination, which may have to be made, be
// a directory that the match goes into, or what the match replaces.
func (c *copier) copyMatch(sel *Selection, m match) error {
	perm := c.mode.parents()
	into := c.op.Dest
	if !strings.HasSuffix(into, "/") && !strings.HasSuffix(into, "/.") {
		into = path.Dir(into)
	}
	if _, err := c.makeDest(into, perm); err != nil {
		return err
	}
	dest, err := resolve(c.tree.lookup, c.op.Dest)
	if err != nil {
		return err
	}
	source := &sel.entries[m.start]
	there := c.tree.find(dest)
	if source.Type == layer.Dir {
		if there != nil && !there.isDir() {
			return fmt.Errorf("cannot copy to non-directory: /%s", dest)
		}
		dir, err := c.tree.mkdirAll(dest, perm, c.own)
		if err != nil {
			return err
		}
		if c.op.Literal && there == nil {
			// A directory that is copied as such, not for what is in it.
			dir.entry.Mode = c.mode.apply(source.Mode, true)
		}
		c2 := writer{copier: c, sel: sel, links: map[linkKey]*node{}}
		_, err = c2.children(m.start, m.end, dir)
		return err
	}
	if there.isDir() {
		dest = join(dest, m.name)
	}
	dir, err := c.tree.mkdirAll(parent(dest), perm, c.own)
	if err != nil {
		return err
	}
	c2 := writer{copier: c, sel: sel, links: map[linkKey]*node{}}
	return c2.file(m.start, dir, path.Base(dest))
}

// makeDest makes a directory by a path that may lead through links.
func (c *copier) makeDest(name string, perm uint32) (*node, error) {
	p, err := resolve(c.tree.lookup, name)
	if err != nil {
		return nil, err
	}
	return c.tree.mkdirAll(p, perm, c.own)
}

// writer copies one match. Hard links hold together within it.
type writer struct {
	*copier
	sel   *Selection
	links map[linkKey]*node
}

// children copies what is in the directory at index i to dir and returns the
// index of what comes after it.
func (w *writer) children(i, end int, dir *node) (int, error) {
	prefix := w.sel.entries[i].Path
	if prefix != "" {
		prefix += "/"
	}
	for i++; i < end && strings.HasPrefix(w.sel.entries[i].Path, prefix); {
		e := &w.sel.entries[i]
		name := path.Base(e.Path)
		if e.Type != layer.Dir {
			if err := w.file(i, dir, name); err != nil {
				return i, err
			}
			i++
			continue
		}
		enter := w.dir
		if w.sel.passes(i) {
			enter = w.pass
		}
		sub, err := enter(e, dir, name)
		if err != nil {
			return i, err
		}
		if i, err = w.children(i, end, sub); err != nil {
			return i, err
		}
	}
	return i, nil
}

// dir makes the directory name, or gives the one that is there e's metadata.
func (w *writer) dir(e *layer.Entry, in *node, name string) (*node, error) {
	n := w.tree.child(in, name)
	if n == nil {
		return w.tree.put(in, name, w.dressed(e), nil), nil
	}
	if !n.isDir() {
		return nil, fmt.Errorf("cannot copy to non-directory: /%s", join(in.path, name))
	}
	d := w.dressed(e)
	n.entry.Mode, n.entry.UID, n.entry.GID = d.Mode, d.UID, d.GID
	setXattrs(&n.entry, d.Xattrs)
	n.entry.Mtime, n.meta = w.tree.now, true
	return n, nil
}

// pass makes the directory name as a copy of e if it is not there, and gives it
// e's mode if it is: what BuildKit does with a directory that it meets on the way.
func (w *writer) pass(e *layer.Entry, in *node, name string) (*node, error) {
	n := w.tree.child(in, name)
	if n == nil || !n.isDir() {
		return w.dir(e, in, name)
	}
	n.entry.Mode = e.Mode
	n.entry.Mtime, n.meta = w.tree.now, true
	return n, nil
}

// file writes the entry at index i, which is no directory, to name in dir.
func (w *writer) file(i int, dir *node, name string) error {
	e := &w.sel.entries[i]
	if err := checkDevice(e); err != nil {
		return err
	}
	if w.tree.child(dir, name).isDir() {
		return fmt.Errorf("cannot replace directory /%s with a file", join(dir.path, name))
	}
	key, linked := w.sel.group(e)
	if first, ok := w.links[key]; linked && ok {
		w.tree.link(dir, name, first)
		return nil
	}
	d := w.dressed(e)
	if d.Type == layer.Hardlink {
		d.Type = layer.File
	}
	n := w.tree.put(dir, name, d, w.sel.data(e, w.source))
	if linked {
		w.links[key] = n
	}
	return nil
}

// dressed returns e with the owner and mode that its copy gets.
func (w *writer) dressed(e *layer.Entry) layer.Entry {
	d := *e
	if d.Pyc != 0 {
		d.Pyc = 1 // it goes where its source goes
	}
	if w.own != nil {
		d.UID, d.GID = w.own.uid, w.own.gid
	}
	if d.Type != layer.Symlink {
		d.Mode = w.mode.apply(d.Mode, d.Type == layer.Dir)
	}
	return d
}
