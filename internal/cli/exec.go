package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"builder/internal/container"
)

// execFlags are the flags of exec as they were typed.
type execFlags struct {
	env, envFiles []string
	container.Exec
}

func newExec(g *globals) *cobra.Command {
	f := &execFlags{}
	cmd := &cobra.Command{
		Use:     "exec [OPTIONS] CONTAINER COMMAND [ARG...]",
		Short:   "Run one more command in a running container",
		Long:    "Run one more command in a running container: in its namespaces, with its rights and limits. It ends with the container.",
		Example: "  builder exec -it web sh",
		Args:    between(2, -1, "a container and a command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, g, args)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return notThere(flagError(cmd, err), err, missingRunFlags)
	})
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.BoolVarP(&f.Detached, "detach", "d", false, "leave the command running")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set a variable, as NAME=VALUE; NAME alone takes it from the environment")
	fl.StringArrayVar(&f.envFiles, "env-file", nil, "file of variables, one NAME=VALUE on a line; -e outranks it")
	fl.BoolVarP(&f.Interactive, "interactive", "i", false, "connect standard input")
	fl.BoolVar(&f.Privileged, "privileged", false, "give the command all capabilities")
	fl.BoolVarP(&f.Terminal, "tty", "t", false, "give the command a terminal")
	fl.StringVarP(&f.User, "user", "u", "", "user[:group], by name or number (default the container's)")
	fl.StringVarP(&f.Dir, "workdir", "w", "", "working directory (default the container's)")
	return cmd
}

func (f *execFlags) run(cmd *cobra.Command, g *globals, args []string) error {
	if f.Terminal && f.Interactive && !f.Detached && !isTerminal(g.in) {
		return usage("the input device is not a TTY").WithHint("leave -t out")
	}
	if f.Dir != "" && !strings.HasPrefix(f.Dir, "/") {
		return usage("-w: working directory %q is not absolute", f.Dir)
	}
	spec := &container.Spec{}
	if err := (&runFlags{env: f.env, envFiles: f.envFiles}).environment(spec); err != nil {
		return err
	}
	e := f.Exec
	e.Env, e.Args = spec.Env, args[1:]
	var found *container.Container
	err := withMachine(g, cmd, func(_ context.Context, m *machine) (err error) {
		found, err = m.containers().Find(args[0])
		return err
	})
	if err != nil {
		return err
	}
	status, err := found.Exec(e, container.Streams{In: g.in, Out: g.out, Err: g.err})
	if status == container.StatusFailed && err != nil {
		return err
	}
	if status == 0 && err == nil {
		return nil
	}
	return &exitError{status: status, err: err}
}
