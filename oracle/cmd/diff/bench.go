package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"builder/oracle/base"
	"builder/oracle/daemon"
	"builder/oracle/recipe"
	"builder/oracle/result"
)

// perBuild is how long one build may take.
const perBuild = 2 * time.Minute

// bench is the place where both build: the bases in a registry, BuildKit, and
// a directory that holds the state of the run.
type bench struct {
	*settings
	dir      string
	lock     *os.File // held for dir
	kernel   []byte   // its release
	tools    *daemon.Tools
	names    recipe.Names
	registry *daemon.Process
	web      *web

	once     sync.Once // starts buildkit when the first case needs it
	buildkit *daemon.Process
	broken   error
}

func open(ctx context.Context, s *settings) (_ *bench, err error) {
	b := &bench{settings: s}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.kernel, err = os.ReadFile("/proc/sys/kernel/osrelease"); err != nil {
		return nil, err
	}
	if !s.oracleOnly && !s.twice {
		if _, err := os.Stat(s.builder); err != nil {
			return nil, fmt.Errorf("-builder: %w", err)
		}
	}
	if b.dir, b.lock, err = newDirectory(s.work); err != nil {
		return nil, err
	}
	if b.tools, err = daemon.BuildTools(ctx, s.module, s.cache); err != nil {
		return nil, err
	}
	set, err := b.bases(ctx)
	if err != nil {
		return nil, err
	}
	addr, err := daemon.FreeAddr("127.0.0.1:5999")
	if err != nil {
		return nil, err
	}
	if b.registry, err = daemon.StartRegistry(ctx, b.dir, addr); err != nil {
		return nil, err
	}
	if err := set.Push(ctx, addr); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, b.registry.Log())
	}
	digests, err := set.Digests()
	if err != nil {
		return nil, err
	}
	if b.web, err = serveCases(filepath.Join(b.dir, "cases")); err != nil {
		return nil, err
	}
	b.names = recipe.Names{Registry: addr, Digests: digests, Web: b.web.addr}
	return b, nil
}

// bases makes the test bases of this machine's busybox.
func (b *bench) bases(ctx context.Context) (*base.Set, error) {
	file := filepath.Join(b.dir, "probe")
	if err := daemon.BuildProgram(ctx, b.module, "builder/oracle/cmd/probe", file); err != nil {
		return nil, err
	}
	probe, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	busybox, err := os.ReadFile(b.busybox)
	if err != nil {
		return nil, err
	}
	list, err := exec.CommandContext(ctx, b.busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", b.busybox, err)
	}
	applets := strings.Fields(string(list))
	slices.Sort(applets)
	return base.New(busybox, probe, applets)
}

// close ends all processes and removes the state.
func (b *bench) close() {
	for _, p := range []*daemon.Process{b.buildkit, b.registry} {
		if p != nil {
			p.Stop()
		}
	}
	if b.web != nil {
		b.web.close()
	}
	if b.dir != "" && !b.keep {
		if err := os.RemoveAll(b.dir); err != nil {
			fmt.Fprintln(os.Stderr, "diff:", err)
		}
	}
	if b.lock != nil {
		_ = b.lock.Close() // read only
	}
}

// start runs the cases, jobs at a time, and returns where their outcomes will
// come.
func (b *bench) start(ctx context.Context, cases []*recipe.Case) []chan outcome {
	outcomes := make([]chan outcome, len(cases))
	for i := range outcomes {
		outcomes[i] = make(chan outcome, 1)
	}
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range cases {
			next <- i
		}
	}()
	for range max(b.jobs, 1) {
		go func() {
			for i := range next {
				begin := time.Now()
				o := b.runCase(ctx, cases[i])
				o.took = time.Since(begin)
				outcomes[i] <- o
			}
		}()
	}
	return outcomes
}

func (b *bench) runCase(ctx context.Context, c *recipe.Case) (o outcome) {
	if ctx.Err() != nil {
		return outcome{err: ctx.Err()}
	}
	dir := filepath.Join(b.dir, "cases", c.Name)
	if !b.keep {
		defer func() { o.err = errors.Join(o.err, os.RemoveAll(dir)) }()
	}
	if b.call != "" {
		differences, err := b.compareCall(ctx, c, dir)
		return outcome{differences: differences, err: err}
	}
	want, err := b.askOracle(ctx, c, dir)
	if err != nil {
		return outcome{err: fmt.Errorf("oracle: %w", err)}
	}
	if b.oracleOnly {
		return outcome{message: want.Message}
	}
	ask, name := b.askBuilder, "builder"
	if b.twice {
		ask, name = b.runOracle, "oracle"
	}
	got, err := ask(ctx, c, dir)
	if err != nil {
		return outcome{err: fmt.Errorf("%s: %w", name, err)}
	}
	o.differences = result.Diff(want, got)
	if want.Refused && got.Refused {
		o.message = "oracle: " + want.Message + "\nours:   " + got.Message
	}
	return o
}

// place writes the case's files, if they are not there.
func (b *bench) place(c *recipe.Case, dir string) (string, error) {
	files := filepath.Join(dir, "files")
	if _, err := os.Lstat(files); err == nil {
		return files, nil
	}
	return files, c.Write(files, b.names)
}
