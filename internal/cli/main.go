package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"builder/internal/diag"
)

// streams are the process's own.
type streams struct {
	in       *os.File
	out, err io.Writer
}

// exitError ends the program with a status and, where there is one, a message.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// errInterrupted is the cause of a command that a signal ended.
var errInterrupted = errors.New("interrupted")

// Main runs the command with the process's arguments and returns its exit status.
func Main() int {
	ctx, stop := interruptible(context.Background())
	defer stop()
	s := &streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	root := newRoot(s)
	root.SetArgs(os.Args[1:])
	err := root.ExecuteContext(ctx)
	if exit, ok := errors.AsType[*exitError](err); ok && exit.err == nil {
		return exit.status // a command's own, whatever signals it got
	}
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errInterrupted) {
		fmt.Fprintln(s.err, "builder: interrupted")
		return 130
	}
	return report(s.err, err)
}

// interruptible returns a context that the first interrupt cancels. A second
// one ends the process at once.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, unix.SIGTERM)
	go func() {
		if _, ok := <-signals; !ok {
			return
		}
		cancel(errInterrupted)
		if _, ok := <-signals; ok {
			os.Exit(130)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}

// report prints what ended the command and returns the exit status.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	status := 1
	if exit, ok := errors.AsType[*exitError](err); ok {
		status = exit.status
		if err = exit.err; err == nil {
			return status
		}
	}
	text := diag.Text(err)
	if _, words := errors.AsType[*noObjectError](err); words && strings.HasPrefix(text, "Error: ") {
		fmt.Fprint(w, text)
		return status
	}
	if !strings.Contains(strings.SplitN(text, "\n", 2)[0], ":") || !isDiag(err) {
		text = "builder: " + text
	}
	fmt.Fprint(w, text)
	return status
}

func isDiag(err error) bool {
	if list, ok := errors.AsType[diag.List](err); ok {
		return len(list) > 0
	}
	e, ok := errors.AsType[*diag.Error](err)
	return ok && !e.Span.IsZero()
}

// flagError says which flag was meant.
func flagError(cmd *cobra.Command, err error) error {
	e := &diag.Error{Message: strings.TrimSuffix(err.Error(), "."), Err: err}
	var word string
	if missing, ok := errors.AsType[*pflag.NotExistError](err); ok {
		word = missing.GetSpecifiedName()
	}
	if word == "" {
		return e.WithHint("%s --help lists the flags", cmd.CommandPath())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	e.Message = fmt.Sprintf("unknown flag %q of %s", dashes(word), cmd.CommandPath())
	if near := diag.Nearest(word, names); near != "" {
		return e.WithHint("did you mean %q?", "--"+near)
	}
	return e.WithHint("%s --help lists the flags", cmd.CommandPath())
}

func dashes(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
