package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"builder/internal/container"
	"builder/internal/sys"
)

// eachContainer does something to each container named, and prints the name as
// it was typed. One that fails does not keep the others.
func eachContainer(g *globals, cmd *cobra.Command, args []string, do func(ctx context.Context, m *machine, c *container.Container) error) error {
	return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
		var errs []error
		for _, arg := range args {
			c, err := m.containers().Find(arg)
			if err == nil {
				err = do(ctx, m, c)
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			fmt.Fprintln(g.out, arg)
		}
		return errors.Join(errs...)
	})
}

func newStart(g *globals) *cobra.Command {
	var attach, interactive bool
	cmd := &cobra.Command{
		Use:     "start [OPTIONS] CONTAINER [CONTAINER...]",
		Short:   "Start containers that do not run",
		Example: "  builder start web",
		Args:    between(1, -1, "at least one container"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if attach || interactive {
				return startAttached(g, cmd, args, interactive)
			}
			return eachContainer(g, cmd, args, func(ctx context.Context, m *machine, c *container.Container) error {
				held, err := m.containers().Hold(ctx, c)
				if errors.Is(err, container.ErrRunning) {
					return nil
				}
				if err != nil {
					return err
				}
				return detach(held, m.dir)
			})
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return notThere(flagError(cmd, err), err, missingRunFlags)
	})
	cmd.Flags().BoolVarP(&attach, "attach", "a", false, "show the output, pass signals on, and exit with the container's status")
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "as --attach, and connect standard input where the container was made with -i")
	return cmd
}

// startAttached is start -a and -i: the container runs beside this process.
func startAttached(g *globals, cmd *cobra.Command, args []string, interactive bool) error {
	if len(args) != 1 {
		return usage("only one container can be started with -a or -i")
	}
	var held *container.Held
	err := withMachine(g, cmd, func(ctx context.Context, m *machine) error {
		c, err := m.containers().Find(args[0])
		if err != nil {
			return err
		}
		if c.Status == container.Running {
			return usage("container %s runs already: it cannot be attached to", args[0]).WithHint("builder logs -f %s shows its output", args[0])
		}
		held, err = m.containers().Hold(ctx, c)
		return err
	})
	if err != nil {
		return err
	}
	if !interactive {
		held.Ignore()
	}
	return attend(cmd.Context(), held, container.Streams{In: g.in, Out: g.out, Err: g.err})
}

func newStop(g *globals) *cobra.Command {
	f := &stopFlags{}
	cmd := &cobra.Command{
		Use:     "stop [OPTIONS] CONTAINER [CONTAINER...]",
		Short:   "Ask containers to end, and kill those that do not",
		Example: "  builder stop web",
		Args:    between(1, -1, "at least one container"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachContainer(g, cmd, args, func(ctx context.Context, _ *machine, c *container.Container) error {
				return f.stop(ctx, cmd, c)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func newKill(g *globals) *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use:     "kill [OPTIONS] CONTAINER [CONTAINER...]",
		Short:   "Send a signal to running containers",
		Example: "  builder kill -s HUP web",
		Args:    between(1, -1, "at least one container"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, ok := sys.ParseSignal(signal)
			if !ok {
				return usage("--signal: %q is no signal", signal)
			}
			return eachContainer(g, cmd, args, func(_ context.Context, _ *machine, c *container.Container) error {
				if err := c.Signal(s); err != nil {
					return fmt.Errorf("cannot kill container: %s: %w", c.Name, err)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "KILL", "signal to send")
	return cmd
}

func newRm(g *globals) *cobra.Command {
	var force bool
	var o container.RemoveOptions
	cmd := &cobra.Command{
		Use:     "rm [OPTIONS] CONTAINER [CONTAINER...]",
		Short:   "Remove containers",
		Example: "  builder rm -f web",
		Args:    between(1, -1, "at least one container"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachContainer(g, cmd, args, func(ctx context.Context, m *machine, c *container.Container) error {
				if force && c.Status == container.Running {
					if err := c.Kill(ctx); err != nil {
						return err
					}
					if c.AutoRemove {
						return nil
					}
				}
				err := m.containers().Remove(c, o)
				if errors.Is(err, container.ErrRunning) {
					return fmt.Errorf("cannot remove container %q: %w: stop the container before removing or force remove", "/"+c.Name, err)
				}
				return err
			})
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return notThere(flagError(cmd, err), err, missingRunFlags)
	})
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill a container that runs")
	cmd.Flags().BoolVarP(&o.Volumes, "volumes", "v", false, "remove the containers' anonymous volumes as well")
	return cmd
}

func newWait(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "wait CONTAINER [CONTAINER...]",
		Short:   "Wait until containers have ended, and print their exit statuses",
		Example: "  builder wait web",
		Args:    between(1, -1, "at least one container"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				var errs []error
				for _, arg := range args {
					c, err := m.containers().Find(arg)
					if err == nil {
						var status int
						if status, err = c.Wait(ctx); err == nil {
							fmt.Fprintln(g.out, status)
						}
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		},
	}
}
