package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"builder/image"
	"builder/image/store"
	"builder/internal/container"
	"builder/internal/diag"
	"builder/internal/pull"
	"builder/snapshot"
)

// runFlags are the flags of run and create as they were typed.
type runFlags struct {
	env, labels               []string
	envFiles, labelFiles      []string
	attach                    []string
	workdir, user, entrypoint string
	hostname, platform, name  string
	stopSignal, cidfile       string
	stopTimeout               int
	rm, interactive, terminal bool
	detach, quiet             bool
	pull                      choice
	mountFlags
	surround surroundFlags
	network  networkFlags
}

func newRun(g *globals) *cobra.Command {
	f := &runFlags{pull: choice{value: "missing", words: []string{"always", "missing", "never"}}}
	cmd := &cobra.Command{
		Use:     "run [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short:   "Run a command in a new container",
		Long:    "Run a command in a container: a copy-on-write copy of an image. The container stays when the command has ended, unless --rm is given.",
		Example: "  builder run --rm -it app:1.0 sh",
		Args:    between(1, -1, "an image and a command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return containerStatus(f.run(cmd, g, args))
		},
	}
	f.add(cmd)
	cmd.Flags().StringSliceVarP(&f.attach, "attach", "a", nil, "connect STDIN, STDOUT or STDERR alone")
	cmd.Flags().BoolVarP(&f.detach, "detach", "d", false, "leave the container running, and print its ID")
	return cmd
}

func newCreate(g *globals) *cobra.Command {
	f := &runFlags{pull: choice{value: "missing", words: []string{"always", "missing", "never"}}}
	cmd := &cobra.Command{
		Use:     "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short:   "Make a container and do not start it",
		Example: "  builder create --name web app:1.0",
		Args:    between(1, -1, "an image and a command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				c, err := f.create(ctx, m, cmd.Flags(), args)
				if err == nil {
					_, err = fmt.Fprintln(g.out, c.ID)
				}
				return err
			})
		},
	}
	f.add(cmd)
	return cmd
}

// add adds the flags that run and create share.
func (f *runFlags) add(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{status: container.StatusFailed, err: notThere(flagError(cmd, err), err, missingRunFlags)}
	})
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.BoolVar(&f.rm, "rm", false, "remove the container and its anonymous volumes when it has ended")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "connect standard input")
	fl.BoolVarP(&f.terminal, "tty", "t", false, "give the command a terminal")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set a variable, as NAME=VALUE; NAME alone takes it from the environment")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "working directory")
	fl.StringVarP(&f.user, "user", "u", "", "user[:group], by name or number")
	fl.StringArrayVar(&f.envFiles, "env-file", nil, "file of variables, one NAME=VALUE on a line; -e outranks it")
	f.mountFlags.add(fl)
	f.surround.add(fl)
	f.network.add(fl)
	addHeld(fl, heldRunFlags)
	fl.StringVar(&f.entrypoint, "entrypoint", "", "take the place of the image's ENTRYPOINT")
	fl.Bool("help", false, "help for "+cmd.Name()) // -h is the host name's, as with docker
	fl.StringVarP(&f.hostname, "hostname", "h", "", "host name (default the container's short ID)")
	fl.StringVar(&f.name, "name", "", "name of the container (default a random one)")
	fl.StringArrayVarP(&f.labels, "label", "l", nil, "add a label, as NAME=VALUE")
	fl.StringArrayVar(&f.labelFiles, "label-file", nil, "file of labels, one NAME=VALUE on a line; --label outranks it")
	fl.StringVar(&f.stopSignal, "stop-signal", "", "signal that stops the container (default the image's, else SIGTERM)")
	fl.IntVar(&f.stopTimeout, "stop-timeout", container.DefaultStopTimeout, "seconds until a container that is stopped is killed; -1 is never")
	fl.StringVar(&f.cidfile, "cidfile", "", "write the container's ID to a file, which must not exist")
	fl.StringVar(&f.platform, "platform", "", "platform of the image (default this machine's)")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show nothing of a pull")
	fl.Var(&f.pull, "pull", "ask the registry: always, missing or never")
}

// notThere gives the message about an unknown flag the reason, where there is one.
func notThere(e, from error, missingFlags map[string]string) error {
	missing, ok := errors.AsType[*pflag.NotExistError](from)
	if !ok {
		return e
	}
	d, ok := errors.AsType[*diag.Error](e)
	if why := missingFlags[missing.GetSpecifiedName()]; ok && why != "" {
		return d.WithHint("%s", why)
	}
	return e
}

// containerStatus makes an error one that docker's run exits with.
func containerStatus(err error) error {
	if err == nil {
		return nil
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit
	}
	return &exitError{status: container.StatusFailed, err: err}
}

// run makes a container and runs it. The store is let go before the command
// starts: what another process removes meanwhile need not wait for its end.
func (f *runFlags) run(cmd *cobra.Command, g *globals, args []string) error {
	if f.terminal && f.interactive && !f.detach && !isTerminal(g.in) {
		return usage("-t needs a terminal, and standard input is none").WithHint("leave -t out")
	}
	streams, err := f.streams(g)
	if err != nil {
		return err
	}
	var held *container.Held
	var made *container.Container
	var dir string
	err = withMachine(g, cmd, func(ctx context.Context, m *machine) (err error) {
		dir = m.dir
		if made, err = f.create(ctx, m, cmd.Flags(), args); err != nil {
			return err
		}
		held, err = m.containers().Hold(ctx, made)
		return err
	})
	if err != nil {
		return err
	}
	if f.detach {
		fmt.Fprintln(g.out, made.ID)
		return detach(held, dir)
	}
	return attend(cmd.Context(), held, streams)
}

// streams are what the command is connected to.
func (f *runFlags) streams(g *globals) (container.Streams, error) {
	s := container.Streams{In: g.in, Out: g.out, Err: g.err}
	if len(f.attach) == 0 {
		return s, nil
	}
	if f.detach {
		return s, usage("-a and -d are opposites")
	}
	var out, errs bool
	for _, name := range f.attach {
		switch strings.ToLower(name) {
		case "stdin": // which -i connects
		case "stdout":
			out = true
		case "stderr":
			errs = true
		default:
			return s, usage("-a: %q is none of STDIN, STDOUT, STDERR", name)
		}
	}
	if !out {
		s.Out = nil
	}
	if !errs {
		s.Err = nil
	}
	return s, nil
}

// attend runs a container beside this process and exits with its status.
func attend(ctx context.Context, held *container.Held, streams container.Streams) error {
	// Signals go to the command, which ends when it likes: the context must not end before it.
	status, err := held.Run(context.WithoutCancel(ctx), streams)
	if err != nil && status == 0 {
		status = container.StatusFailed
	}
	if status == 0 {
		return nil
	}
	return &exitError{status: status, err: err}
}

// detach runs a container beside a process of its own: the supervisor.
func detach(held *container.Held, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return errors.Join(fmt.Errorf("find own binary: %w", err), held.Close())
	}
	cmd := exec.Command(self, superviseCommand)
	cmd.Args[0] = os.Args[0]
	cmd.Env = []string{"BUILDER_ROOT=" + dir}
	status, err := held.Detach(cmd)
	if err != nil {
		return &exitError{status: status, err: err}
	}
	return nil
}

// superviseCommand is the command that a supervisor is started as. It is not for
// people.
const superviseCommand = "supervise-container"

func newSupervise() *cobra.Command {
	return &cobra.Command{
		Use:    superviseCommand,
		Hidden: true,
		Args:   exactly(0, "no arguments"),
		RunE:   func(*cobra.Command, []string) error { return container.Supervise() },
	}
}

// containers are those of this root directory.
func (m *machine) containers() *container.Store {
	return &container.Store{Dir: m.path("containers"), Volumes: m.path("volumes"), Snapshots: m.snapshots}
}

// create finds or pulls an image and makes a container of it.
func (f *runFlags) create(ctx context.Context, m *machine, flags *pflag.FlagSet, args []string) (_ *container.Container, err error) {
	spec, err := f.spec(flags.Changed("entrypoint"), args[1:])
	if err != nil {
		return nil, err
	}
	want, err := platformOr(f.platform)
	if err != nil {
		return nil, err
	}
	labels, err := f.allLabels()
	if err != nil {
		return nil, err
	}
	around, err := f.surround.parse()
	if err != nil {
		return nil, err
	}
	if around.Nodes, err = f.surround.parseDevices(spec); err != nil {
		return nil, err
	}
	if spec.Volumes, err = f.fromOthers(m.containers(), spec.Volumes); err != nil {
		return nil, err
	}
	if f.cidfile != "" {
		if _, err := os.Lstat(f.cidfile); err == nil {
			return nil, usage("--cidfile: %q is there already", f.cidfile).WithHint("remove it, or name another file")
		}
	}
	rec, run, err := m.obtain(ctx, args[0], want, f.platform != "", f.policy(), f.display(m.err))
	if err != nil {
		return nil, err
	}
	if !image.MatchPlatform(want, rec.Platform) {
		fmt.Fprintf(m.err, "WARNING: The requested image's platform (%s) does not match the detected host platform (%s) and no specific platform was requested\n",
			image.FormatPlatform(rec.Platform), image.FormatPlatform(want))
	}
	tree, err := m.treeOf(ctx, rec.Layers)
	if err != nil {
		return nil, err
	}
	spec.Config = run
	c := container.Config{
		Name: f.name, Image: rec.ID, ImageName: args[0], Layers: rec.Layers, Tree: tree, Run: run,
		AutoRemove: f.rm, StopTimeout: f.stopTimeout, Surroundings: around,
	}
	if err := f.network.parse(&c, m.err); err != nil {
		return nil, err
	}
	c.Run.Labels = maps.Clone(run.Labels)
	if c.Run.Labels == nil {
		c.Run.Labels = map[string]string{}
	}
	maps.Copy(c.Run.Labels, labels)
	if f.stopSignal != "" {
		c.Run.StopSignal = f.stopSignal
	}
	made, err := m.containers().Create(ctx, container.New{Spec: spec, Config: c})
	if err != nil {
		return nil, err
	}
	if f.cidfile != "" {
		err = writeNew(f.cidfile, made.ID)
	}
	return made, err
}

// writeNew writes a file that does not exist yet.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usage("%q is there already", path)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// treeOf makes the tree of an image's layers where it is not here.
func (m *machine) treeOf(ctx context.Context, layers []image.Layer) (snapshot.ID, error) {
	chain, err := m.chain(ctx, layers)
	if err != nil {
		return snapshot.ID{}, err
	}
	tree, err := m.depot.Tree(ctx, chain)
	return tree.ID, err
}

func (f *runFlags) policy() pull.Policy {
	return map[string]pull.Policy{"always": pull.Always, "missing": pull.Missing, "never": pull.Never}[f.pull.value]
}

func (f *runFlags) spec(entrypoint bool, args []string) (*container.Spec, error) {
	if f.workdir != "" && !strings.HasPrefix(f.workdir, "/") {
		return nil, usage("-w: working directory %q is not absolute", f.workdir).WithHint("write -w /%s", f.workdir)
	}
	spec := &container.Spec{Args: args, Dir: f.workdir, User: f.user, Hostname: f.hostname, Terminal: f.terminal, Interactive: f.interactive}
	if entrypoint {
		spec.Entrypoint = []string{f.entrypoint}
	}
	if err := f.environment(spec); err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("working directory: %w", err)
	}
	spec.Volumes, err = f.mountFlags.parse(dir)
	return spec, err
}

// environment reads the variables: those of files first, which -e outranks.
func (f *runFlags) environment(spec *container.Spec) error {
	add := func(name, value string, given bool) {
		if !given {
			if value, given = os.LookupEnv(name); !given {
				return
			}
		}
		spec.Env = append(spec.Env, name+"="+value)
	}
	for _, file := range f.envFiles {
		if err := readPairs("--env-file", "variable", file, add); err != nil {
			return err
		}
	}
	for _, e := range f.env {
		name, value, ok := strings.Cut(e, "=")
		if name == "" {
			return usage("-e: %q has no name", e).WithHint("write -e NAME=VALUE")
		}
		add(name, value, ok)
	}
	return nil
}

// allLabels reads the labels: those of files first, which -l outranks.
func (f *runFlags) allLabels() (map[string]string, error) {
	all := map[string]string{}
	for _, file := range f.labelFiles {
		if err := readPairs("--label-file", "label", file, func(name, value string, _ bool) { all[name] = value }); err != nil {
			return nil, err
		}
	}
	labels, err := pairs("-l", f.labels, func(string) (string, bool) { return "", true })
	maps.Copy(all, labels)
	return all, err
}

func (f *runFlags) display(w io.Writer) display {
	if f.quiet {
		return newDisplay("quiet", w)
	}
	return newDisplay("auto", w)
}

// obtain returns an image with all its layers here, pulled if need be, and its
// config. With exact it is for the platform that is wanted.
func (m *machine) obtain(ctx context.Context, name string, want image.Platform, exact bool, policy pull.Policy, view display) (rec store.Record, run image.RunConfig, err error) {
	defer func() { err = errors.Join(err, view.Close()) }()
	client, err := m.registry()
	if err != nil {
		return rec, run, err
	}
	p := pull.New(m.store, client, policy, view)
	if policy != pull.Always {
		found, ferr := m.store.Find(ctx, name, want)
		if ferr == nil && exact {
			// It may be there for this platform too, where it came from.
			if ferr = checkPlatform(name, want, found.Platform); ferr != nil && (policy == pull.Never || found.Name.Manifest == "") {
				return rec, run, ferr
			}
		}
		if ferr == nil {
			c, _, err := m.store.Config(ctx, found.ID)
			if err != nil {
				return rec, run, err
			}
			rec = found.Record
			rec.Layers, err = p.CompleteTree(ctx, found.Record, m.depot)
			return rec, c.Config, err
		}
	}
	ref, err := image.ParseReference(name)
	if err != nil {
		return rec, run, usage("%v", err)
	}
	img, err := m.bring(ctx, p, ref, want, exact)
	if err != nil {
		return rec, run, err
	}
	return img.Record, img.Config.Config, nil
}
