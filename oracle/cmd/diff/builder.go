package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"builder/oracle/recipe"
	"builder/oracle/result"
)

// askBuilder returns what builder makes of the case. All cases share a store,
// as all builds of a machine do.
func (b *bench) askBuilder(ctx context.Context, c *recipe.Case, dir string) (*result.Build, error) {
	files, err := b.place(c, dir)
	if err != nil {
		return nil, err
	}
	archive := filepath.Join(dir, "builder.tar")
	log, err := runBuild(ctx, files, filepath.Join(dir, "builder.log"), b.builder, b.commandLine(c, archive)...)
	return outcomeOf(log, err, archive)
}

// commandLine is builder's for a case, to be run in the case's directory.
func (b *bench) commandLine(c *recipe.Case, archive string) []string {
	o := c.Options.Expand(b.names)
	args := []string{"build", "--root", filepath.Join(b.dir, "store"), "--progress", "plain",
		"-o", "type=oci,dest=" + archive}
	opt := func(name string, values ...string) {
		for _, v := range values {
			if v != "" {
				args = append(args, name, v)
			}
		}
	}
	if !strings.Contains(o.Context, "://") || o.File != "Dockerfile" {
		opt("-f", o.File)
	}
	opt("--target", o.Target)
	opt("--platform", o.Platform)
	opt("--network", o.Network)
	opt("--shm-size", o.ShmSize)
	opt("--ulimit", o.Ulimits...)
	opt("--add-host", o.AddHosts...)
	opt("--allow", o.Allow...)
	opt("--annotation", o.Annotations...)
	opt("--secret", o.Secrets...)
	opt("--ssh", o.SSH...)
	opt("--build-context", o.Contexts...)
	opt("--build-arg", o.BuildArgs...)
	opt("--label", o.Labels...)
	if o.NoCache {
		args = append(args, "--no-cache")
	}
	return append(args, o.Context)
}

// runBuild runs one build, leaves what it printed in the file log, and
// returns the end of it.
func runBuild(ctx context.Context, dir, log, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, perBuild, fmt.Errorf("no end after %s", perBuild))
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SECRET_WORD=sesame")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	line := strings.Join(append([]string{name}, args...), " ")
	if werr := os.WriteFile(log, fmt.Appendf(nil, "%s\n%s", line, &out), 0o644); werr != nil {
		return "", errors.Join(err, werr)
	}
	return out.String(), err
}

// outcomeOf tells a refusal from an image, and either from a build that came
// to no end.
func outcomeOf(log string, err error, archive string) (*result.Build, error) {
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return &result.Build{Refused: true, Message: complaint(log)}, nil
	case err != nil:
		return nil, fmt.Errorf("%w\n%s", err, log)
	}
	return result.ReadArchive(archive)
}

// complaint is the part of a log that says what is wrong: from the last line
// that begins an error, or its last lines.
func complaint(log string) string {
	const most = 15
	lines := strings.Split(strings.TrimSpace(log), "\n")
	from := max(len(lines)-most, 0)
	for i, line := range slices.Backward(lines) {
		if beginsError(line) {
			from = i
			break
		}
	}
	return strings.Join(lines[from:], "\n")
}

// beginsError reports whether the line is the first of buildctl's or of
// builder's message: "error: …", "builder: …", "Dockerfile:3:5: …".
func beginsError(line string) bool {
	if strings.HasPrefix(line, "error: ") || strings.HasPrefix(line, "builder: ") {
		return true
	}
	fields := strings.SplitN(line, ":", 4)
	if len(fields) < 4 || strings.Contains(fields[0], " ") {
		return false
	}
	_, err1 := strconv.Atoi(fields[1])
	_, err2 := strconv.Atoi(fields[2])
	return err1 == nil && err2 == nil
}
