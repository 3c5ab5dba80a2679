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
	"strings"
	"time"
)

// perCommand is how long one command may take.
const perCommand = 3 * time.Minute

// figures are what a tool needed for a case.
type figures struct {
	median, least time.Duration
	memory        int64 // peak in bytes
	err           error
}

// measure runs all cases with all tools and prints the report.
func measure(ctx context.Context, s settings, dir string) (err error) {
	r := report{settings: s, machine: machine(ctx, s.fs)}
	p := place{dir: dir, base: "127.0.0.1:5000/base:1", log: filepath.Join(dir, "log")}
	b := &builder{program: s.builder}
	r.tools = []tool{b}
	if s.peers {
		bk, missing := startBuildkit(ctx, s.oracle, p)
		if missing == nil {
			defer func() { err = errors.Join(err, bk.stop()) }()
			p = bk.place
			r.tools = append(r.tools, bk)
		}
		r.miss("BuildKit", missing)
	}
	b.place = p
	if err := write(p, s); err != nil {
		return err
	}
	if s.peers {
		ba, missing := openBuildah(ctx, p)
		if missing == nil {
			r.tools = append(r.tools, ba)
		}
		r.miss("buildah", missing)
	}
	for _, c := range cases(s.files) {
		if s.match.MatchString(c.title) && ctx.Err() == nil {
			r.cases = append(r.cases, c)
			r.figures = append(r.figures, s.measure(ctx, r.tools, c, p))
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	fmt.Print(r.text())
	return r.failure()
}

// measure lets the tools take turns, so that what else the machine does falls
// on all of them.
func (s settings) measure(ctx context.Context, tools []tool, c benchCase, p place) []figures {
	all := make([]figures, len(tools))
	times := make([][]time.Duration, len(tools))
	for i, t := range tools {
		all[i].err = c.warm(ctx, t, p)
	}
	for n := range max(s.runs, s.peerRuns) {
		for i, t := range tools {
			if i == 0 && n >= s.runs || i > 0 && n >= s.peerRuns || all[i].err != nil {
				continue
			}
			took, err := c.run(ctx, t, p, nil)
			all[i].err = err
			times[i] = append(times[i], took)
		}
	}
	for i, t := range tools {
		f := &all[i]
		for n := 0; n < s.memRuns && f.err == nil; n++ {
			w := newWatcher(t)
			_, f.err = c.run(ctx, t, p, w)
			f.memory = max(f.memory, w.peak)
		}
		if f.err == nil {
			slices.Sort(times[i])
			n := len(times[i])
			f.least, f.median = times[i][0], (times[i][(n-1)/2]+times[i][n/2])/2
		}
		fmt.Fprintf(os.Stderr, "%s: %s: %s ms, %s\n", c.title, t.Name(), millis(f.median), mib(f.memory))
	}
	return all
}

// command is what is measured.
func (c benchCase) command(t tool, p place) *exec.Cmd {
	if c.recipe == "" {
		return t.Version()
	}
	return t.Build(p.recipe(c.recipe), p.tree(c.tree))
}

// warm makes a case that is not cold ready and sees that a rebuild really is
// answered from the cache.
func (c benchCase) warm(ctx context.Context, t tool, p place) error {
	if c.cold || c.recipe == "" {
		return nil
	}
	if err := t.Reset(ctx); err != nil {
		return err
	}
	for range 3 {
		if err := p.run(ctx, c.command(t, p)); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err
	}
	if n := bytes.Count(text, []byte(" CACHED")) + bytes.Count(text, []byte("Using cache")); n < c.hits {
		return fmt.Errorf("%d steps of the rebuild are cached, want %d\n%s", n, c.hits, text)
	}
	return nil
}

// run runs the case once, watched or not. What is not yet on the disk is not
// the case's to write.
func (c benchCase) run(ctx context.Context, t tool, p place, w *watcher) (time.Duration, error) {
	if c.cold {
		if err := t.Reset(ctx); err != nil {
			return 0, err
		}
	}
	if err := p.run(ctx, exec.Command("sync", "-f", p.dir)); err != nil {
		return 0, err
	}
	cmd := c.command(t, p)
	begin := time.Now()
	err := p.runWatched(ctx, cmd, w)
	return time.Since(begin), err
}

// run runs a command; what it prints is the log, and part of the error.
func (p place) run(ctx context.Context, cmd *exec.Cmd) error { return p.runWatched(ctx, cmd, nil) }

func (p place) runWatched(ctx context.Context, cmd *exec.Cmd, w *watcher) error {
	out, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	if w != nil {
		defer w.watch(cmd.Process.Pid)()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, perCommand, fmt.Errorf("no end after %s", perCommand))
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	if err := cmd.Wait(); err != nil {
		text, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), errors.Join(err, context.Cause(ctx)), text)
	}
	return nil
}
