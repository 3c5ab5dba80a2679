package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"builder/executor/source"
	"builder/image/layer"
	"builder/internal/diag"
	"builder/internal/progress"
	"builder/planner"
)

// isURL reports whether a word is what a web server has.
func isURL(word string) bool {
	return strings.HasPrefix(word, "http://") || strings.HasPrefix(word, "https://")
}

// remoteContext reads a context that is elsewhere: a repository, or a file of a
// web server. ok is false for a directory.
func remoteContext(word string) (git planner.Git, isGit, ok bool, err error) {
	if git, isGit, err = planner.ParseGit(word); isGit {
		if err != nil {
			err = usage("the context %q: %v", planner.Redact(word), err)
		}
		return git, true, true, err
	}
	if isURL(word) {
		return git, false, true, nil
	}
	if _, err := os.Stat(word); err == nil || !strings.HasPrefix(word, "github.com/") {
		return git, false, false, nil
	}
	// docker takes this form for repositories, where there is no such directory.
	u, err := url.Parse("https://" + word)
	if err != nil {
		return git, false, true, usage("the context %q: %v", word, err)
	}
	if !strings.HasSuffix(u.Path, ".git") {
		u.Path += ".git"
	}
	git, _, err = planner.ParseGit(u.String())
	return git, true, true, err
}

// fetchesInput reports whether reading recipe and context takes more than this
// machine's files. A context that is no URL, and looks like one, is an error.
func fetchesInput(file, contextArg string) (bool, error) {
	_, _, remote, err := remoteContext(contextArg)
	return contextArg == "-" || remote || isURL(file), err
}

// openElsewhere reads recipe and context where one of them is not a file here.
func (m *machine) openElsewhere(ctx context.Context, f *buildFlags, contextArg string, keepGitDir bool, fetch *fetcher) (*input, error) {
	var recipe *diag.File
	var err error
	if isURL(f.file) {
		if recipe, err = m.recipeFrom(ctx, f.file, fetch); err != nil {
			return nil, err
		}
	}
	if contextArg == "-" {
		return m.openStdin(ctx, m.in, f.file, recipe)
	}
	git, isGit, remote, err := remoteContext(contextArg)
	if err != nil {
		return nil, err
	}
	if f.file == "-" {
		if recipe, err = readRecipe("-", m.in); err != nil {
			return nil, err
		}
	}
	if !remote {
		in, err := openDir(contextArg)
		if err != nil {
			return nil, err
		}
		in.recipe = recipe
		return in, in.readIgnore("-")
	}
	in := &input{}
	if isGit {
		git.KeepGitDir = git.KeepGitDir || keepGitDir
		err = in.fromGit(ctx, git, fetch)
	} else {
		err = m.fromWeb(ctx, in, contextArg, fetch)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case recipe != nil && f.file == "-":
		in.recipe = recipe
		return in, in.includes("")
	case recipe != nil:
		in.recipe = recipe
	case in.recipe != nil && f.file != "":
		return nil, usage("the context %q is a Dockerfile, and -f names another", planner.Redact(contextArg))
	case in.recipe == nil:
		return in, in.readRecipe(cmp.Or(f.file, "Dockerfile"))
	}
	return in, nil
}

// fromGit makes a checkout the context.
func (in *input) fromGit(ctx context.Context, git planner.Git, fetch *fetcher) error {
	opened, err := fetch.shown(ctx, "[internal] load git source "+git.String(), func(v progress.Vertex) (*source.Context, error) {
		return fetch.Git(ctx, git, v)
	})
	if err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	in.archive, in.dir = opened, opened.Dir()
	fi, err := os.Stat(in.dir)
	if err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	when := fi.ModTime().Unix() // the commit's
	in.when = &when
	return nil
}

// fromWeb makes a file of a web server the context if it is a tar, or else the
// recipe for an empty one.
func (m *machine) fromWeb(ctx context.Context, in *input, address string, fetch *fetcher) error {
	data, err := fetch.contextFile(ctx, "[internal] load remote build context", address)
	if err != nil {
		return err
	}
	defer data.Close()
	if when := data.modified.Unix(); when > 0 {
		in.when = &when
	}
	r := bufio.NewReaderSize(data, 4096)
	start, err := r.Peek(512)
	if err != nil && err != io.EOF {
		return fmt.Errorf("build context: %w", err)
	}
	if !isArchive(start) {
		in.recipe, err = readRecipe("-", r)
		return err
	}
	return m.openTar(ctx, in, r)
}

// openTar unpacks a tar that is the context.
func (m *machine) openTar(ctx context.Context, in *input, r io.Reader) error {
	dir, err := os.MkdirTemp(m.lease.Dir(), "context-*")
	if err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	// The context stays open for the whole command: the build may be over when it is closed.
	if in.archive, err = source.OpenArchive(context.WithoutCancel(ctx), dir, r); err != nil {
		return err
	}
	m.contexts = append(m.contexts, in.archive)
	in.dir = dir
	return nil
}

// recipeFrom reads a recipe from a web server.
func (m *machine) recipeFrom(ctx context.Context, address string, fetch *fetcher) (*diag.File, error) {
	data, err := fetch.contextFile(ctx, "[internal] load remote Dockerfile", address)
	if err != nil {
		return nil, err
	}
	name := "Dockerfile"
	if u, err := url.Parse(address); err == nil && path.Base(u.Path) != "/" && path.Base(u.Path) != "." {
		name = path.Base(u.Path)
	}
	recipe, err := readRecipe(name, data)
	return recipe, errors.Join(err, data.Close())
}

// contextFile fetches what a build is given.
func (f *fetcher) contextFile(ctx context.Context, what, address string) (*fetchedFile, error) {
	r, err := f.file(ctx, what, address)
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	return r, nil
}

// file fetches a file for the command itself.
func (f *fetcher) file(ctx context.Context, what, address string) (*fetchedFile, error) {
	const name = "context"
	opened, err := f.shown(ctx, what, func(v progress.Vertex) (*source.Context, error) {
		return f.HTTP(ctx, planner.HTTP{URL: address, Name: name}, v)
	})
	if err != nil {
		return nil, err
	}
	e, ok := opened.Lookup(name)
	if err := opened.Err(); err != nil {
		return nil, err
	}
	if !ok || e.Type != layer.File {
		return nil, fmt.Errorf("%s is gone", filepath.Join(opened.Dir(), name))
	}
	if e.Size == 0 {
		return &fetchedFile{ReadCloser: io.NopCloser(bytes.NewReader(nil))}, nil
	}
	r, err := opened.Open(ctx, e)
	return &fetchedFile{r, time.Unix(0, e.Mtime)}, err
}

// fetchedFile is a file of a web server. When it was modified is zero or 1970 where
// the server does not say.
type fetchedFile struct {
	io.ReadCloser
	modified time.Time
}

// shown reports a transfer that no step stands for.
func (f *fetcher) shown(_ context.Context, name string, fetch func(progress.Vertex) (*source.Context, error)) (*source.Context, error) {
	v := progress.Vertex{ID: name, Name: name}
	f.sink.Progress(progress.Started{Vertex: v, Time: time.Now()})
	opened, err := fetch(v)
	f.sink.Progress(progress.Finished{Vertex: v, Err: err, Time: time.Now()})
	return opened, err
}
