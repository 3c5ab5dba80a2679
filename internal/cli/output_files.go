package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"builder/image/layer"
)

// fileOutput is what an output of files is to be like.
type fileOutput struct {
	remove bool   // what is in the directory besides goes: mode=delete
	split  *bool  // a directory for each platform; nil if there are several
	src    string // only what is in this directory; empty is all
}

func (o *fileOutput) set(key, value string) error {
	switch key {
	case "mode":
		if value != "copy" && value != "delete" && value != "" {
			return usage("--output: mode=%q is unknown", value).WithHint("copy leaves what is there besides, delete removes it")
		}
		o.remove = value == "delete"
	case "platform-split":
		split := false
		if err := parseFlagBool(key, value, &split); err != nil {
			return err
		}
		o.split = &split
	default:
		if value == "" {
			return usage("--output: src is empty").WithHint("leave it out to get all files")
		}
		o.src = value
	}
	return nil
}

// splits reports whether each of n images gets a directory.
func (o *fileOutput) splits(index bool) bool {
	if o.split == nil {
		return index
	}
	return *o.split
}

// trees opens the files of images as one layer, each below its platform where they
// are split.
func (m *machine) trees(ctx context.Context, images []made, o fileOutput, index bool, use func(*layer.Index, layer.Source) error) error {
	if len(images) == 1 && o.src == "" && !o.splits(index) {
		return m.flat(ctx, images[0], use)
	}
	all, sources := &layer.Index{}, &forest{of: map[string]origin{}}
	dirs := map[string]string{} // where files are from that are not split
	var add func(rest []made) error
	add = func(rest []made) error {
		if len(rest) == 0 {
			slices.SortFunc(all.Entries, func(a, b layer.Entry) int { return layer.Compare(&a, &b) })
			ix, err := layer.NewIndex(all.Entries)
			if err != nil {
				return err
			}
			return use(ix, sources)
		}
		return m.flat(ctx, rest[0], func(ix *layer.Index, src layer.Source) error {
			entries, from, err := within(ix, o.src)
			if err != nil {
				return err
			}
			dir := ""
			if o.splits(index) {
				dir = directoryOf(rest[0].platform)
				all.Entries = append(all.Entries, layer.Entry{Path: dir, Type: layer.Dir, Mode: 0o755})
			}
			for i, e := range entries {
				e.Path = path.Join(dir, e.Path)
				if e.Type == layer.Hardlink {
					e.Link = path.Join(dir, e.Link)
				}
				first, twice := dirs[e.Path]
				if twice && e.Type == layer.Dir {
					continue
				}
				if twice {
					return fmt.Errorf("cannot overwrite %s from %s with %s when split option is disabled", e.Path, first, directoryOf(rest[0].platform))
				}
				dirs[e.Path] = directoryOf(rest[0].platform)
				sources.of[e.Path] = origin{src, from[i]}
				all.Entries = append(all.Entries, e)
			}
			return add(rest[1:])
		})
	}
	return add(images)
}

// within returns what is in a directory of a tree, with paths from there, and the
// entries as they were. A link on the way is followed inside of the tree. A file
// whose first name is outside is a file of its own.
func within(ix *layer.Index, dir string) (entries, from []layer.Entry, err error) {
	if dir == "" {
		return ix.Entries, ix.Entries, nil
	}
	found, err := resolveDir(ix, dir)
	if err != nil {
		return nil, nil, fmt.Errorf("src=%s: %w", dir, err)
	}
	if dir = found; dir == "" {
		return ix.Entries, ix.Entries, nil
	}
	inside := func(p string) (string, bool) { return strings.CutPrefix(p, dir+"/") }
	outside := map[string]string{} // the new first names of files
	for _, e := range ix.Entries {
		name, ok := inside(e.Path)
		if !ok {
			continue
		}
		was := e
		e.Path = name
		if e.Type == layer.Hardlink {
			first, in := inside(e.Link)
			if !in {
				first = outside[e.Link]
			}
			switch {
			case first != "":
				e.Link = first
			default:
				outside[e.Link] = name
				file, ok := ix.Find(e.Link)
				if !ok {
					return nil, nil, fmt.Errorf("%s: %w", e.Link, fs.ErrNotExist)
				}
				was, e = file, file
				e.Path = name
			}
		}
		entries, from = append(entries, e), append(from, was)
	}
	return entries, from, nil
}

// resolveDir returns where a directory of a tree is, all links followed.
func resolveDir(ix *layer.Index, name string) (string, error) {
	at, todo := "", strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			at = path.Dir("/" + at)[1:]
			continue
		}
		e, ok := ix.Find(path.Join(at, next))
		switch {
		case !ok:
			return "", fs.ErrNotExist
		case e.Type == layer.Symlink:
			if links++; links > 255 {
				return "", syscall.ELOOP
			}
			if path.IsAbs(e.Link) {
				at = ""
			}
			todo = append(strings.Split(e.Link, "/"), todo...)
		case e.Type != layer.Dir:
			return "", syscall.ENOTDIR
		default:
			at = e.Path
		}
	}
	return at, nil
}

// forest are the files of images below other names.
type forest struct{ of map[string]origin }

type origin struct {
	src   layer.Source
	entry layer.Entry
}

// Open implements [layer.Source].
func (f *forest) Open(ctx context.Context, e layer.Entry) (io.ReadCloser, error) {
	o, ok := f.of[e.Path]
	if !ok {
		return nil, fmt.Errorf("%s is in no image", e.Path)
	}
	return o.src.Open(ctx, o.entry)
}

// writeTrees writes the files of images as one tar.
func (m *machine) writeTrees(ctx context.Context, images []made, o output, index bool, w io.Writer) error {
	return m.trees(ctx, images, o.files, index, func(ix *layer.Index, src layer.Source) error {
		return layer.WriteTar(ctx, w, ix.Portable(), src, nil)
	})
}

// writeLocal writes the files of images into a directory of the user's, over what is
// there or in place of it. No symbolic link that is there is followed.
func (m *machine) writeLocal(ctx context.Context, images []made, o output, index bool) error {
	if err := os.MkdirAll(o.dest, 0o755); err != nil {
		return err
	}
	return m.trees(ctx, images, o.files, index, func(ix *layer.Index, src layer.Source) error {
		if err := layer.WriteTree(ctx, o.dest, ix, src, layer.TreeOptions{}); err != nil || !o.files.remove {
			return err
		}
		return removeOthers(o.dest, ix)
	})
}

// removeOthers removes from a directory what is not in a tree.
func removeOthers(dest string, ix *layer.Index) (err error) {
	root, err := os.OpenRoot(dest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	var clear func(dir string) error
	clear = func(dir string) error {
		f, err := root.Open(dir)
		if err != nil {
			return err
		}
		names, err := f.ReadDir(-1)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		for _, name := range names {
			at := path.Join(dir, name.Name())
			e, ok := ix.Find(at)
			switch {
			case !ok:
				err = root.RemoveAll(at)
			case e.Type == layer.Dir:
				err = clear(at)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return clear(".")
}
