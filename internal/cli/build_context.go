package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"builder/image"
	"builder/image/layout"
	"builder/internal/diag"
	"builder/internal/pull"
	"builder/parser"
	"builder/planner"
)

// namedContexts are --build-context as they are read.
type namedContexts struct {
	plan    map[string]planner.Named
	dirs    map[string]string // by the name of the op
	layouts map[string]layoutContext
	baked   map[string]*baked // by the name of the reference
}

// layoutContext is an image in a directory.
type layoutContext struct {
	dir    string
	tag    string
	digest image.Digest
}

// namedPrefix begins the names of contexts that are directories.
const namedPrefix = "context "

// parseContexts reads --build-context.
func parseContexts(texts []string) (*namedContexts, error) {
	c := &namedContexts{plan: map[string]planner.Named{}, dirs: map[string]string{}, layouts: map[string]layoutContext{}}
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" || value == "" {
			return nil, usage("--build-context: %q is not NAME=VALUE", text).WithHint("for example src=../lib, or alpine=docker-image://alpine:3.20")
		}
		known, err := planner.ContextName(name)
		if err != nil {
			return nil, usage("--build-context: %v", err).WithHint("a context is named as an image or a stage is")
		}
		n, err := c.parse(known, value)
		if err != nil {
			return nil, err
		}
		c.plan[known] = n
	}
	return c, nil
}

// parse reads what a name stands for.
func (c *namedContexts) parse(name, value string) (planner.Named, error) {
	scheme, rest, _ := strings.Cut(value, ":")
	switch scheme {
	case "docker-image":
		ref := strings.TrimPrefix(rest, "//")
		if _, err := image.ParseReference(ref); err != nil && ref != "scratch" {
			return planner.Named{}, usage("--build-context %s: %v", name, err)
		}
		return planner.Named{Image: ref}, nil
	case "target":
		return planner.Named{Stage: strings.TrimPrefix(rest, "//")}, nil
	case "oci-layout":
		return c.layout(name, strings.TrimPrefix(rest, "//"))
	}
	if git, ok, err := planner.ParseGit(value); ok {
		if err != nil {
			return planner.Named{}, usage("--build-context %s: %v", name, err)
		}
		return planner.Named{Files: git}, nil
	}
	if strings.HasPrefix(value, "http://") || strings.HasPrefix(value, "https://") {
		return planner.Named{Files: planner.HTTP{URL: value, Name: "context"}}, nil
	}
	return c.directory(name, value)
}

// directory is a context that is a directory, less what its ignore file excludes.
func (c *namedContexts) directory(name, dir string) (planner.Named, error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return planner.Named{}, usage("--build-context %s: %q cannot be read: %v", name, dir, unwrapPath(err)).
			WithHint("a directory, docker-image://, oci-layout://, target:, or the URL of a repository or a file")
	}
	if !fi.IsDir() {
		return planner.Named{}, usage("--build-context %s: %q is not a directory", name, dir)
	}
	op := planner.Context{Name: namedPrefix + name}
	path := filepath.Join(dir, ".dockerignore")
	data, err := os.ReadFile(path)
	if err == nil {
		op.Ignore, err = parser.ParseIgnore(&diag.File{Name: path, Text: string(data)})
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return planner.Named{}, err
	}
	c.dirs[op.Name] = dir
	return planner.Named{Files: op}, nil
}

// layout is an image in a directory, as PATH[:TAG][@DIGEST].
func (c *namedContexts) layout(name, text string) (planner.Named, error) {
	l := layoutContext{dir: text}
	if dir, digest, ok := strings.Cut(text, "@"); ok {
		l.dir, l.digest = dir, image.Digest(digest)
	}
	if i := strings.LastIndexByte(l.dir, ':'); i > strings.LastIndexByte(l.dir, '/') {
		l.dir, l.tag = l.dir[:i], l.dir[i+1:]
	}
	if _, err := os.Stat(filepath.Join(l.dir, "index.json")); err != nil {
		return planner.Named{}, usage("--build-context %s: %q is no OCI layout: %v", name, l.dir, unwrapPath(err))
	}
	ref := fmt.Sprintf("%s/%d", layoutHost, len(c.layouts))
	c.layouts[ref] = l
	return planner.Named{Image: ref}, nil
}

// layoutHost begins the references that stand for images in directories; RFC 2606
// keeps the name from being a registry's.
const layoutHost = "oci-layout.invalid"

// find takes the image that a reference stands for into the store.
func (c *namedContexts) find(ctx context.Context, m *machine, p *pull.Puller, ref image.Reference, on image.Platform) (pull.Image, bool, error) {
	if b := c.baked[ref.Name()]; b != nil {
		img, err := m.fromBake(ctx, b, on)
		if err == nil {
			p.Know(img, on)
		}
		return img, true, err
	}
	at, ok := c.layouts[ref.Name()]
	if !ok {
		return pull.Image{}, false, nil
	}
	img, err := m.fromLayout(ctx, at, on)
	if err != nil {
		return img, true, fmt.Errorf("oci-layout %s: %w", at.dir, err)
	}
	p.Know(img, on)
	return img, true, nil
}

// fromLayout takes an image of a layout into the store, without a name.
func (m *machine) fromLayout(ctx context.Context, at layoutContext, on image.Platform) (img pull.Image, err error) {
	l, err := layout.Open(at.dir)
	if err != nil {
		return img, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	e, ok := at.choose(l.Entries())
	if !ok {
		return img, fmt.Errorf("it has no image %q", cmp.Or(at.digest.String(), at.tag, "latest"))
	}
	packed, err := l.Image(ctx, e, on)
	if err != nil {
		return img, err
	}
	img.Digest = packed.Manifest.Digest
	if img.Record, err = m.takeIn(ctx, packed, l); err != nil {
		return img, err
	}
	img.Config, _, err = m.store.Config(ctx, img.Record.ID)
	return img, err
}

// choose returns the image that was asked for: without tag and digest the one
// called latest, or the only one.
func (at layoutContext) choose(entries []layout.Entry) (layout.Entry, bool) {
	for _, e := range entries {
		name := e.Descriptor.Annotations[ocispec.AnnotationRefName]
		switch tag := cmp.Or(at.tag, "latest"); {
		case at.digest != "" && e.Descriptor.Digest == at.digest:
			return e, true
		case at.digest == "" && (name == tag || e.Reference.Tag() == tag):
			return e, true
		}
	}
	if at.digest == "" && at.tag == "" && len(entries) == 1 {
		return entries[0], true
	}
	return layout.Entry{}, false
}
