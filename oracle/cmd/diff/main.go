// Command diff builds every recipe of the corpus with BuildKit and with
// builder, and lists how the images differ. See README.md beside go.mod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"

	"builder/oracle/recipe"
)

// settings are the command line.
type settings struct {
	recipes    string // the corpus
	module     string // the oracle's Go module
	builder    string // our program
	busybox    string // the static program that the bases are made of
	cache      string // programs and the oracle's results
	work       string // where the run keeps its state
	match      *regexp.Regexp
	jobs       int
	list       bool
	oracleOnly bool
	twice      bool   // compare BuildKit with itself
	anything   bool   // a case need not say whether BuildKit refuses it
	fresh      bool   // ask the oracle even if its answer is known
	call       string // compare what --call prints; empty compares builds
	keep       bool   // leave archives and logs
	verbose    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		var ok bool
		if ok, err = diff(ctx, s); err == nil && ok {
			return 0
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "diff:", err)
	}
	return 1
}

func parse(args []string) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("diff", flag.ContinueOnError)
	f.StringVar(&s.recipes, "recipes", "../testdata/recipes", "directory of the corpus")
	f.StringVar(&s.module, "oracle", ".", "directory of the oracle's Go module")
	f.StringVar(&s.builder, "builder", "../bin/builder", "the program to compare")
	f.StringVar(&s.busybox, "busybox", "/bin/busybox", "a static busybox for the bases")
	f.StringVar(&s.cache, "cache", "", "where programs and the oracle's results are kept (the user's cache directory)")
	f.StringVar(&s.work, "work", "/dev/shm", "a directory on tmpfs for the run's state")
	match := f.String("run", "", "only the cases that match this regular expression")
	f.IntVar(&s.jobs, "j", runtime.NumCPU(), "how many cases at once")
	f.BoolVar(&s.list, "list", false, "print the names of the cases and build nothing")
	f.BoolVar(&s.oracleOnly, "oracle-only", false, "check the recipes with BuildKit alone")
	f.BoolVar(&s.twice, "twice", false, "compare BuildKit's remembered results with those of a build without cache: every recipe must give the same twice")
	f.BoolVar(&s.anything, "any", false, "cases need not say whether BuildKit refuses them: for recipes that a program has made up")
	f.BoolVar(&s.fresh, "fresh", false, "ask BuildKit even where its answer is in the cache")
	f.StringVar(&s.call, "call", "", "compare what is printed for check, outline or targets, and build nothing")
	f.BoolVar(&s.keep, "keep", false, "leave the run's contexts, archives and logs in the work directory")
	f.BoolVar(&s.verbose, "v", false, "print expected differences and the messages of refusals too")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	var err error
	if s.match, err = regexp.Compile(*match); err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	if _, ok := calls[s.call]; !ok && s.call != "" {
		return nil, fmt.Errorf("-call: %q is none of check, outline, targets", s.call)
	}
	if s.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		s.cache = filepath.Join(dir, "builder-oracle")
	}
	for _, p := range []*string{&s.recipes, &s.module, &s.builder, &s.cache, &s.work} {
		if *p, err = filepath.Abs(*p); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// diff runs the cases and reports whether all of them are as they should be.
func diff(ctx context.Context, s *settings) (bool, error) {
	cases, err := recipe.Load(s.recipes, s.match)
	if err != nil {
		return false, err
	}
	if len(cases) == 0 {
		return false, fmt.Errorf("no case in %s matches", s.recipes)
	}
	if s.list {
		for _, c := range cases {
			fmt.Println(c.Name)
		}
		return true, nil
	}
	begin := time.Now()
	b, err := open(ctx, s)
	if err != nil {
		return false, err
	}
	defer b.close()
	ok := report(s, cases, b.start(ctx, cases), begin)
	return ok, ctx.Err()
}
