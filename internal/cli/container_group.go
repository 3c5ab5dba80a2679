package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"builder/internal/container"
	"builder/internal/sys"
)

// newContainerGroup is "builder container", docker's longer form of the commands.
func newContainerGroup(g *globals) *cobra.Command {
	cmd := group("container", "Manage containers", "  builder container ls -a",
		newAttach(g), newCommit(g), newCp(g), newCreate(g), newDiff(g), newExec(g), newExport(g), newContainerInspect(g), newKill(g), newLogs(g),
		newPort(g), newContainerPrune(g), newRename(g), newRestart(g),
		named(newPs(g), "ls [OPTIONS]", "ps", "list"),
		named(newRm(g), "rm [OPTIONS] CONTAINER [CONTAINER...]", "remove"),
		newRun(g), newStart(g), newStop(g), newTop(g), newWait(g),
	)
	cmd.AddCommand(refusedContainerCommands()...)
	return cmd
}

// containerCommands are those that are not only in the group.
func containerCommands(g *globals) []*cobra.Command {
	return append([]*cobra.Command{newContainerGroup(g), newAttach(g), newExec(g), newPort(g), newRename(g), newRestart(g), newTop(g)}, refusedContainerCommands()...)
}

// refusedContainerCommands are docker's commands that are not there, with the reason.
func refusedContainerCommands() []*cobra.Command {
	var list []*cobra.Command
	for _, c := range [][2]string{
		{"pause", "builder exec -u 0 CONTAINER kill -STOP -1 stops all but the first process of a container, and -CONT lets them go on"},
		{"unpause", "builder exec -u 0 CONTAINER kill -CONT -1 lets processes go on that were stopped"},
		{"stats", "builder top CONTAINER shows the processes of a container"},
		{"update", "limits are given when a container is made: builder create --memory …"},
	} {
		list = append(list, &cobra.Command{
			Use: c[0], Hidden: true, DisableFlagParsing: true,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return usage("%s is not there", cmd.CommandPath()).WithHint("%s", c[1])
			},
		})
	}
	return list
}

func newContainerInspect(g *globals) *cobra.Command {
	f := &inspectFlags{kind: choice{value: kindContainer}}
	cmd := &cobra.Command{
		Use:     "inspect [OPTIONS] CONTAINER [CONTAINER...]",
		Short:   "Show what is known of containers",
		Example: "  builder container inspect -f '{{.State.Status}}' web",
		Args:    between(1, -1, "at least one container"),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(g, cmd, args) },
	}
	formatFlag(cmd, &f.format)
	cmd.Flags().BoolVarP(&f.size, "size", "s", false, "show what its files take")
	return cmd
}

func newContainerPrune(g *globals) *cobra.Command {
	var force bool
	var words []string
	cmd := &cobra.Command{
		Use:     "prune [OPTIONS]",
		Short:   "Remove the containers that do not run",
		Example: "  builder container prune -f --filter until=24h",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := parseFilters(words, "until", "label", "label!")
			if err != nil {
				return err
			}
			until, err := keys.until()
			if err != nil {
				return err
			}
			if yes, err := g.confirm(force, " all stopped containers."); err != nil || !yes {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				ids, freed, err := m.pruneContainers(ctx, until, keys)
				g.printPruned("Deleted Containers:", ids)
				fmt.Fprintf(g.out, "Total reclaimed space: %s\n", byteCount(freed))
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	cmd.Flags().StringArrayVar(&words, "filter", nil, "remove what fits: until=DURATION|DATE, label=NAME[=VALUE], label!=NAME[=VALUE]")
	return cmd
}

func newRename(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "rename CONTAINER NEW_NAME",
		Short:   "Give a container another name",
		Example: "  builder rename web old",
		Args:    exactly(2, "a container and its new name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				c, err := m.containers().Find(args[0])
				if err != nil {
					return err
				}
				return m.containers().Rename(c, args[1])
			})
		},
	}
}

func newRestart(g *globals) *cobra.Command {
	f := &stopFlags{}
	cmd := &cobra.Command{
		Use:     "restart [OPTIONS] CONTAINER [CONTAINER...]",
		Short:   "Stop containers that run, and start them again",
		Example: "  builder restart web",
		Args:    between(1, -1, "at least one container"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachContainer(g, cmd, args, func(ctx context.Context, m *machine, c *container.Container) error {
				if c.AutoRemove && c.Status == container.Running {
					return usage("container %s goes when it ends, with all that it has: it cannot be restarted", c.Name)
				}
				if err := f.stop(ctx, cmd, c); err != nil {
					return err
				}
				held, err := m.containers().Hold(ctx, c)
				if err != nil {
					return err
				}
				return detach(held, m.dir)
			})
		},
	}
	f.add(cmd)
	return cmd
}

// stopFlags are the flags of stop and restart as they were typed.
type stopFlags struct {
	seconds int
	signal  string
}

func (f *stopFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.IntVarP(&f.seconds, "timeout", "t", container.DefaultStopTimeout, "seconds until the container is killed (default its own); -1 is never")
	fl.IntVar(&f.seconds, "time", container.DefaultStopTimeout, "the same as --timeout")
	fl.Lookup("time").Hidden = true
	fl.StringVarP(&f.signal, "signal", "s", "", "signal to send (default the container's)")
}

// stop stops a container that runs.
func (f *stopFlags) stop(ctx context.Context, cmd *cobra.Command, c *container.Container) error {
	if c.Status != container.Running {
		return nil
	}
	s, err := c.StopSignal()
	if err != nil {
		return err
	}
	if f.signal != "" {
		var ok bool
		if s, ok = sys.ParseSignal(f.signal); !ok {
			return usage("--signal: %q is no signal", f.signal)
		}
	}
	seconds := f.seconds
	if !cmd.Flags().Changed("time") && !cmd.Flags().Changed("timeout") {
		seconds = c.StopTimeout
	}
	return c.Stop(ctx, s, time.Duration(seconds)*time.Second)
}

func newAttach(g *globals) *cobra.Command {
	var noStdin bool
	cmd := &cobra.Command{
		Use:     "attach [OPTIONS] CONTAINER",
		Short:   "Show what a running container writes, and exit with its status",
		Example: "  builder attach --no-stdin web",
		Args:    exactly(1, "one container"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var c *container.Container
			err := withMachine(g, cmd, func(_ context.Context, m *machine) (err error) {
				c, err = m.containers().Find(args[0])
				return err
			})
			if err != nil {
				return err
			}
			if c.Status != container.Running {
				return usage("you cannot attach to a stopped container, start it first").WithHint("builder start -a %s", args[0])
			}
			if c.Interactive && !noStdin {
				return usage("the standard input of container %s is nobody's any more", args[0]).
					WithHint("builder attach --no-stdin shows what it writes, builder exec -it runs one more command in it")
			}
			return g.watch(cmd.Context(), c)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return notThere(flagError(cmd, err), err, missingAttachFlags)
	})
	cmd.Flags().BoolVar(&noStdin, "no-stdin", false, "do not connect standard input")
	return cmd
}

var missingAttachFlags = map[string]string{
	"detach-keys": "interrupt it to leave: the container runs on",
	"sig-proxy":   "signals end attach and not the container: builder kill sends them",
}

// watch shows a container's output from now on, and ends with its status.
func (g *globals) watch(ctx context.Context, c *container.Container) error {
	out, errs := g.out, g.err
	if c.Terminal {
		errs = out
	}
	log, err := c.OpenLog(container.LogOptions{}, out, errs)
	if err != nil {
		return err
	}
	// The status has to be asked for before the container is gone.
	type end struct {
		status int
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		status, err := c.Wait(ctx)
		ended <- end{status, err}
	}()
	err = errors.Join(c.Follow(ctx, log), log.Close())
	e := <-ended
	if err = errors.Join(err, e.err); err != nil {
		return err
	}
	if e.status != 0 {
		return &exitError{status: e.status}
	}
	return nil
}
