package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"builder/internal/diag"
)

// maxIncluded is how large a file that a recipe includes may be.
const maxIncluded = 1 << 20

// includer reads the files that a recipe includes: those in the build context, or
// beside a recipe that lies elsewhere. No path and no link leads out of there.
type includer struct {
	dir   string
	shown string                // what messages call it
	at    map[*diag.File]string // the path of each file in dir
	files map[string]*diag.File
}

// newIncluder returns what reads for a recipe at the path name, or for one from
// standard input where name is empty; that one is taken to be in the context.
func newIncluder(recipe *diag.File, dir, name string) (*includer, error) {
	i := &includer{dir: dir, shown: dir, at: map[*diag.File]string{}, files: map[string]*diag.File{}}
	within := "Dockerfile"
	if name != "" {
		root, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		file, err := filepath.Abs(name)
		if err != nil {
			return nil, err
		}
		if within, err = filepath.Rel(root, file); err != nil || within == ".." || strings.HasPrefix(within, "../") {
			i.dir, within = filepath.Dir(name), filepath.Base(name)
			i.shown = i.dir
		}
	}
	i.at[recipe], i.files[within] = within, recipe
	return i, nil
}

// includes lets the recipe, which is at the path name, include files. One from
// standard input, whose name is empty, is taken to be in the context.
func (in *input) includes(name string) error {
	i, err := newIncluder(in.recipe, in.dir, name)
	if err != nil {
		return err
	}
	if in.archive != nil {
		i.shown = "the build context"
	}
	in.include = i.open
	return nil
}

// open implements [parser.Include].
func (i *includer) open(from *diag.File, name string) (*diag.File, error) {
	if path.IsAbs(name) {
		return nil, fmt.Errorf("%q is no relative path", name)
	}
	within := path.Join(path.Dir(i.at[from]), name)
	if !filepath.IsLocal(within) {
		return nil, fmt.Errorf("%q is not in %s", name, i.shown)
	}
	if f, ok := i.files[within]; ok {
		return f, nil
	}
	text, err := i.read(within)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, unwrapPath(err))
	}
	f := &diag.File{Name: path.Join(path.Dir(from.Name), name), Text: text}
	i.at[f], i.files[within] = within, f
	return f, nil
}

func (i *includer) read(within string) (_ string, err error) {
	root, err := os.OpenRoot(i.dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	f, err := root.OpenFile(within, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return "", errors.Join(err, errors.New("this is no regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxIncluded+1))
	if err == nil && len(data) > maxIncluded {
		err = fmt.Errorf("it has more than %d bytes", maxIncluded)
	}
	return string(data), err
}
