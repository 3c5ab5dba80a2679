package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// A tool builds images.
type tool interface {
	// Name is what the report calls it.
	Name() string

	// Reset makes the tool forget all but the base image, which it has used.
	Reset(ctx context.Context) error

	// Build is the command that builds the recipe with the context, and says
	// for each step whether it was cached.
	Build(recipe, tree string) *exec.Cmd

	// Version is the command that does next to nothing.
	Version() *exec.Cmd

	// Programs are the files that the tool consists of, and Service is a
	// process at or above its daemon, or 0.
	Programs() []string
	Service() int
}

// place is what all tools are given.
type place struct {
	dir  string // for state
	base string // the name of the base image
	log  string // file that a command's output goes to
}

func (p place) recipe(name string) string { return filepath.Join(p.dir, "recipes", name, "Dockerfile") }
func (p place) tree(name string) string   { return filepath.Join(p.dir, "contexts", name) }

// builder is the program that this is about. Its state is a new directory
// after each Reset: a process of the last run may still be tidying the old one.
type builder struct {
	place
	program string
	resets  int
}

func (b *builder) Name() string       { return "builder" }
func (b *builder) Programs() []string { return []string{b.program} }
func (b *builder) Service() int       { return 0 }
func (b *builder) Version() *exec.Cmd { return exec.Command(b.program, "version") }

func (b *builder) Reset(ctx context.Context) error {
	_ = os.RemoveAll(b.root()) // as far as it goes; all state ends with the file system
	b.resets++
	if err := b.run(ctx, b.build(b.base, b.recipe("base"), b.tree("base"))); err != nil {
		return err
	}
	return b.run(ctx, b.Build(b.recipe("wake"), b.tree("small")))
}

func (b *builder) Build(recipe, tree string) *exec.Cmd { return b.build("app:1", recipe, tree) }

func (b *builder) build(name, recipe, tree string) *exec.Cmd {
	return exec.Command(b.program, "--root", b.root(), "build", "--progress=plain", "-t", name, "-f", recipe, tree)
}

func (b *builder) root() string { return filepath.Join(b.dir, "builder."+strconv.Itoa(b.resets)) }
