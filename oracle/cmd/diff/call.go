package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"builder/oracle/recipe"
)

// calls are BuildKit's names for what --call asks of a recipe in place of a build.
var calls = map[string]string{"check": "frontend.lint", "outline": "frontend.outline", "targets": "frontend.targets"}

// compareCall compares what both print for --call. What is wrong with a recipe is
// compared by the builds.
func (b *bench) compareCall(ctx context.Context, c *recipe.Case, dir string) (differences []string, err error) {
	b.once.Do(func() { b.buildkit, b.broken = b.tools.StartBuildkit(ctx, b.dir, b.names.Registry) })
	if b.broken != nil {
		return nil, b.broken
	}
	files, err := b.place(c, dir)
	if err != nil {
		return nil, err
	}
	// BuildKit checks for its own platform, whatever is asked for.
	plain := *c
	plain.Platform = ""
	c = &plain
	args := slices.DeleteFunc(b.buildctl(c, "-"), func(a string) bool { return strings.HasPrefix(a, "--output=") })
	want, refused, err := printed(ctx, files, b.tools.Buildctl, append(args, "--opt=requestid="+calls[b.call])...)
	if err != nil || refused {
		return nil, err
	}
	args = b.commandLine(c, "-")
	i := slices.Index(args, "-o")
	args = slices.Insert(slices.Delete(args, i, i+2), 1, "--call="+b.call)
	got, _, err := printed(ctx, files, b.builder, args...)
	if err != nil {
		return nil, err
	}
	if b.call == "outline" {
		want, got = byLine(want), byLine(got) // arguments of one line have no order
	}
	return missing(blocks(want), blocks(got)), nil
}

// printed returns what a command writes to its standard output, and whether it
// wrote nothing and failed.
func printed(ctx context.Context, dir, name string, args ...string) (out string, refused bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, perBuild, fmt.Errorf("no end after %s", perBuild))
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "SECRET_WORD=sesame")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return stdout.String(), stdout.Len() == 0, nil
	}
	return stdout.String(), false, err
}

// blocks are the parts between empty lines before a warning, without the line
// that counts them, sorted: warnings of one line have no order.
func blocks(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, "\nWARNING: ") {
		if part = strings.TrimSpace(part); part != "" && !strings.HasPrefix(part, "Check complete") {
			list = append(list, part)
		}
	}
	slices.Sort(list)
	return list
}

// byLine sorts lines, without the space at their ends.
func byLine(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// missing says which blocks only one side has.
func missing(want, got []string) []string {
	var differences []string
	for _, w := range want {
		if i := slices.Index(got, w); i >= 0 {
			got = slices.Delete(got, i, i+1)
			continue
		}
		differences = append(differences, "only the oracle says:\n"+w)
	}
	for _, g := range got {
		differences = append(differences, "only we say:\n"+g)
	}
	return differences
}
