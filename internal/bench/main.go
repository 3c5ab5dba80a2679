// Command bench measures what users of builder wait for, beside BuildKit and
// buildah on the same recipes, and prints the tables of docs/performance.md.
//
// It runs the programs as users do and looks at them from outside. The whole
// run lives in a mount and a process namespace of its own, its files on a file
// system that exists only there: however it ends, nothing is left behind.
// A figure that misses its target is marked, not an error; the exit status is 1
// only if something could not be run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
)

// settings are the command line.
type settings struct {
	builder, busybox, oracle, fs   string
	runs, peerRuns, memRuns, files int
	peers, transfer                bool
	match                          *regexp.Regexp
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s, err := parse()
	if err != nil {
		return err
	}
	dir := os.Getenv(insideVar)
	if dir == "" {
		return enter(ctx)
	}
	if err := mountState(ctx, s.fs, dir); err != nil {
		return err
	}
	if s.transfer {
		return measureTransfers(ctx, s, filepath.Join(dir, "state"))
	}
	return measure(ctx, s, filepath.Join(dir, "state"))
}

func parse() (s settings, err error) {
	flag.StringVar(&s.builder, "builder", "bin/builder", "the program to measure")
	flag.StringVar(&s.busybox, "busybox", "/bin/busybox", "a static busybox for the base image")
	flag.StringVar(&s.oracle, "oracle", "oracle", "directory of the Go module that makes BuildKit")
	flag.StringVar(&s.fs, "fs", "tmpfs", "file system of all state: tmpfs, or ext4 in a file on tmpfs")
	flag.IntVar(&s.runs, "runs", 11, "timed runs of builder in each case")
	flag.IntVar(&s.peerRuns, "peer-runs", 5, "timed runs of BuildKit and buildah in each case")
	flag.IntVar(&s.memRuns, "memory-runs", 3, "runs in each case with the memory watched")
	flag.IntVar(&s.files, "files", 50_000, "files in the large context")
	flag.BoolVar(&s.peers, "peers", true, "measure BuildKit and buildah too")
	flag.BoolVar(&s.transfer, "transfer", false, "measure pulls, pushes and lists instead of builds, beside skopeo with umoci, buildah, and docker where it is installed")
	match := flag.String("run", "", "only the cases whose title matches this regular expression")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case s.fs != "tmpfs" && s.fs != "ext4":
		return s, fmt.Errorf("-fs is tmpfs or ext4, not %q", s.fs)
	case min(s.runs, s.peerRuns, s.files) < 1:
		return s, fmt.Errorf("-runs, -peer-runs and -files are at least 1")
	}
	if s.match, err = regexp.Compile(*match); err != nil {
		return s, fmt.Errorf("-run: %w", err)
	}
	for _, p := range []*string{&s.builder, &s.busybox, &s.oracle} {
		if *p, err = filepath.Abs(*p); err != nil {
			return s, err
		}
	}
	_, err = os.Stat(s.builder)
	return s, err
}
