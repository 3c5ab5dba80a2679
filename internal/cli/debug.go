package cli

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"builder/executor"
	"builder/executor/sandbox"
	"builder/internal/progress"
	"builder/internal/sys"
)

// debugFlags are the flags of debug as they were typed.
type debugFlags struct {
	on     choice
	invoke string
}

func newDebug(g *globals) *cobra.Command {
	f := &debugFlags{on: choice{value: "error", words: []string{"error", "always"}}}
	build := newBuildCommand(g, f)
	build.Example = "  builder debug --invoke /bin/sh build ."
	cmd := group("debug", "Look into a build that stops", "  builder debug --on=error --invoke /bin/sh build .", build)
	fl := cmd.PersistentFlags()
	fl.Var(&f.on, "on", "when the build stops: error, or always, which is at the result too")
	fl.StringVar(&f.invoke, "invoke", "/bin/sh", "command that is run there: words, or args=…[,env=NAME=VALUE][,user=…][,cwd=…]")
	return cmd
}

// session reads --invoke.
func (f *debugFlags) session() (executor.Session, error) {
	var s executor.Session
	if !strings.Contains(f.invoke, "args=") && !strings.Contains(f.invoke, "entrypoint=") {
		s.Args = strings.Fields(f.invoke)
	} else {
		fields, err := csv.NewReader(strings.NewReader(f.invoke)).Read()
		if err != nil {
			return s, usage("--invoke: %q: %v", f.invoke, err)
		}
		for _, field := range fields {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "args", "entrypoint":
				s.Args = append(s.Args, value)
			case "env":
				s.Env = append(s.Env, value)
			case "user":
				s.User = value
			case "cwd":
				s.Dir = value
			default:
				return s, usage("--invoke: unknown key %q", key).WithHint("args, env, user, cwd")
			}
		}
	}
	if len(s.Args) == 0 {
		return s, usage("--invoke: it names no command")
	}
	return s, nil
}

// gate is a display that waits while somebody looks into the build.
type gate struct {
	display
	mu sync.Mutex
}

// Progress implements progress.Sink.
func (g *gate) Progress(e progress.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.display.Progress(e)
}

// stopped runs the command that the user wants where a build has stopped, one at a time.
func (f *debugFlags) stopped(g *globals, view *gate) func(context.Context, executor.Stopped) error {
	return func(ctx context.Context, at executor.Stopped) error {
		s, err := f.session()
		if err != nil {
			return err
		}
		view.mu.Lock()
		defer view.mu.Unlock()
		if at.Err != nil {
			fmt.Fprintf(g.err, "\n%s: %v\n%s: %s\n", at.Step, at.Err, "what it left", strings.Join(s.Args, " "))
		} else {
			fmt.Fprintf(g.err, "\n%s: %s\n", at.Step, strings.Join(s.Args, " "))
		}
		s.Stdin, s.Stdout, s.Stderr = g.in, g.err, g.err
		if isTerminal(g.in) {
			s.Terminal, s.Started = true, attendTerminal(g.in, g.err)
			s.Rows, s.Columns, _ = sys.WindowSize(g.in)
		}
		err = at.Run(ctx, s)
		switch exit, notStarted := (*sandbox.ExitError)(nil), (*sandbox.CommandError)(nil); {
		case errors.As(err, &exit):
			fmt.Fprintf(g.err, "the session ended: %v\n", exit)
			return nil
		case errors.As(err, &notStarted):
			fmt.Fprintf(g.err, "the session: %v\nhint: name a command that is there with --invoke\n", notStarted)
			return nil
		}
		return err
	}
}

// attendTerminal connects a command's terminal with the user's.
func attendTerminal(in *os.File, out io.Writer) func(*sandbox.Process) (func() error, error) {
	return func(p *sandbox.Process) (func() error, error) {
		restore, err := sys.MakeRaw(in)
		if err != nil {
			return nil, err
		}
		// This one ends with the program: nobody can interrupt a read of a terminal.
		go func() { _, _ = io.Copy(p.Terminal(), in) }()
		signals, done := make(chan os.Signal, 1), make(chan struct{})
		signal.Notify(signals, unix.SIGWINCH)
		var beside sync.WaitGroup
		beside.Go(func() { _, _ = io.Copy(out, p.Terminal()) }) // the end of a terminal is EIO
		beside.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-signals:
					if rows, columns, ok := sys.WindowSize(in); ok {
						_ = p.Resize(rows, columns) // it may have ended
					}
				}
			}
		})
		return func() error {
			signal.Stop(signals)
			close(done)
			beside.Wait()
			return errors.Join(p.Terminal().Close(), restore())
		}, nil
	}
}
