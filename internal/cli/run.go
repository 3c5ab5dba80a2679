package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/internal/container"
	"builder/internal/pull"
)

// runFlags are the flags of run as they were typed.
type runFlags struct {
	env, volumes              []string
	workdir, user, entrypoint string
	hostname, platform        string
	rm, interactive, terminal bool
	pull                      choice
}

func newRun(g *globals) *cobra.Command {
	f := &runFlags{pull: choice{value: "missing", words: []string{"always", "missing", "never"}}}
	cmd := &cobra.Command{
		Use:     "run [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short:   "Run a command in an image",
		Long:    "Run a command in a copy-on-write copy of an image. The copy is removed when the command has ended.",
		Example: "  builder run --rm -it app:1.0 sh",
		Args:    between(1, -1, "an image and a command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := f.run(cmd, g, args)
			if exit, ok := errors.AsType[*exitError](err); ok {
				return exit
			}
			if err != nil {
				return &exitError{status: container.StatusFailed, err: err}
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{status: container.StatusFailed, err: flagError(cmd, err)}
	})
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.BoolVar(&f.rm, "rm", false, "remove the container when it has ended (it always is)")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "connect standard input")
	fl.BoolVarP(&f.terminal, "tty", "t", false, "give the command a terminal")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set a variable, as NAME=VALUE; NAME alone takes it from the environment")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "working directory")
	fl.StringVarP(&f.user, "user", "u", "", "user[:group], by name or number")
	fl.StringArrayVarP(&f.volumes, "volume", "v", nil, "show a directory of the host, as SOURCE:TARGET[:ro], or a volume")
	fl.StringVar(&f.entrypoint, "entrypoint", "", "take the place of the image's ENTRYPOINT")
	fl.StringVar(&f.hostname, "hostname", "", "host name")
	fl.StringVar(&f.platform, "platform", "", "platform of the image (default this machine's)")
	fl.Var(&f.pull, "pull", "ask the registry: always, missing or never")
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command, g *globals, args []string) error {
	spec, err := f.spec(cmd.Flags().Changed("entrypoint"), args[1:])
	if err != nil {
		return err
	}
	if f.terminal && f.interactive && !isTerminal(g.in) {
		return usage("-t needs a terminal, and standard input is none").WithHint("leave -t out")
	}
	want, err := platformOr(f.platform)
	if err != nil {
		return err
	}
	var status int
	err = withMachine(g, cmd, func(ctx context.Context, m *machine) error {
		status, err = m.run(ctx, args[0], want, f.policy(), spec)
		return err
	})
	if err != nil || status != 0 {
		if status == 0 {
			status = container.StatusFailed
		}
		if exit, ok := errors.AsType[*exitError](err); ok {
			return exit
		}
		return &exitError{status: status, err: err}
	}
	return nil
}

func (f *runFlags) policy() pull.Policy {
	return map[string]pull.Policy{"always": pull.Always, "missing": pull.Missing, "never": pull.Never}[f.pull.value]
}

func (f *runFlags) spec(entrypoint bool, args []string) (*container.Spec, error) {
	spec := &container.Spec{Args: args, Dir: f.workdir, User: f.user, Hostname: f.hostname, Terminal: f.terminal, Interactive: f.interactive}
	if entrypoint {
		spec.Entrypoint = []string{f.entrypoint}
	}
	for _, e := range f.env {
		name, _, ok := strings.Cut(e, "=")
		if name == "" {
			return nil, usage("-e: %q has no name", e).WithHint("write -e NAME=VALUE")
		}
		if !ok {
			value, set := os.LookupEnv(name)
			if !set {
				continue
			}
			e = name + "=" + value
		}
		spec.Env = append(spec.Env, e)
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("working directory: %w", err)
	}
	for _, text := range f.volumes {
		v, err := container.ParseVolume(text, dir)
		if err != nil {
			return nil, usage("-v: %v", err)
		}
		spec.Volumes = append(spec.Volumes, v)
	}
	return spec, nil
}

// run finds or pulls an image and runs it.
func (m *machine) run(ctx context.Context, name string, want image.Platform, policy pull.Policy, spec *container.Spec) (int, error) {
	layers, err := m.obtain(ctx, name, want, policy, spec)
	if err != nil {
		return container.StatusFailed, err
	}
	chain, err := m.chain(ctx, layers)
	if err != nil {
		return container.StatusFailed, err
	}
	tree, err := m.depot.Tree(ctx, chain)
	if err != nil {
		return container.StatusFailed, err
	}
	runner := container.Runner{Snapshots: m.snapshots, Sandbox: m.sandbox, Volumes: m.path("volumes"), Temp: m.lease.Dir()}
	// Signals go to the command, which ends when it likes: the context must not end before it.
	return runner.Run(context.WithoutCancel(ctx), tree.ID, spec, container.Streams{In: m.in, Out: m.out, Err: m.err})
}

// obtain returns the layers of an image, pulled if need be, and puts its config
// into spec.
func (m *machine) obtain(ctx context.Context, name string, want image.Platform, policy pull.Policy, spec *container.Spec) ([]image.Layer, error) {
	client, err := m.registry()
	if err != nil {
		return nil, err
	}
	view := newDisplay("auto", m.err)
	defer func() { err = errors.Join(err, view.Close()) }()
	p := pull.New(m.store, client, policy, view)
	if policy != pull.Always {
		found, ferr := m.store.Find(ctx, name, want)
		if ferr == nil {
			c, _, err := m.store.Config(ctx, found.ID)
			if err != nil {
				return nil, err
			}
			spec.Config = c.Config
			return p.Complete(ctx, found.Record)
		}
	}
	ref, err := image.ParseReference(name)
	if err != nil {
		return nil, usage("%v", err)
	}
	img, err := m.bring(ctx, p, ref, want)
	if err != nil {
		return nil, err
	}
	spec.Config = img.Config.Config
	return img.Record.Layers, nil
}
