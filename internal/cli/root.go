package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"builder/internal/diag"
)

// globals are the flags of every command.
type globals struct {
	*streams
	root      string
	config    string
	tlsVerify bool
}

// newRoot returns the whole command.
func newRoot(s *streams) *cobra.Command {
	g := &globals{streams: s}
	cmd := &cobra.Command{
		Use:           "builder",
		Short:         "builder turns a Dockerfile into an OCI image",
		Long:          "builder turns a Dockerfile into an OCI image: one binary, no daemon, no external runtime.",
		Example:       "  builder build -t app:1.0 .\n  builder run --rm app:1.0",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetIn(s.in)
	cmd.SetOut(s.out)
	cmd.SetErr(s.err)
	cmd.SetVersionTemplate("builder version {{.Version}}\n")
	cmd.SetFlagErrorFunc(flagError)
	cmd.PersistentFlags().StringVar(&g.root, "root", "", "directory of images and caches (default $BUILDER_ROOT, else /var/lib/builder for root and $XDG_DATA_HOME/builder for others)")
	cmd.PersistentFlags().StringVar(&g.config, "config", "", "directory of docker's config.json, with the credentials of registries (default $DOCKER_CONFIG, else ~/.docker)")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return g.useConfig() }
	cmd.AddCommand(
		newBuild(g), newBake(g), newDebug(g), newDap(g), newRun(g), newCreate(g), newStart(g), newStop(g), newKill(g), newRm(g), newWait(g),
		newPs(g), newLogs(g), newDiff(g), newCommit(g), newExport(g), newCp(g), newSupervise(),
		newImages(g), newRmi(g), newTag(g), newInspect(g), newBothHistories(g),
		newImport(g), newPull(g), newPush(g), newSave(g), newLoad(g),
		newVersion(g),
	)
	cmd.AddCommand(imageCommands(g)...)
	cmd.AddCommand(containerCommands(g)...)
	g.addCompletion(cmd)
	return cmd
}

// useConfig takes docker's settings from where --config says.
func (g *globals) useConfig() error {
	if g.config == "" {
		return nil
	}
	dir, err := filepath.Abs(g.config)
	if err != nil {
		return fmt.Errorf("--config %s: %w", g.config, err)
	}
	return os.Setenv("DOCKER_CONFIG", dir)
}

// absent are docker's commands for what is not here, and why.
var absent = map[string]string{
	"network": "networks are not made and have no names here",
	"context": "there is no daemon to choose", "plugin": "there are no plugins", "trust": "signatures are not made or looked at",
	"events": "there is no daemon to watch: builder ps says what runs", "checkpoint": "processes are not frozen",
	"swarm": "there are no clusters", "node": "there are no clusters", "service": "there are no clusters", "stack": "there are no clusters",
	"secret": "there are no clusters; builder build --secret gives one to a build",
}

// unknownCommand names the command that was probably meant.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	e := usage("unknown command %q", args[0])
	if cmd.Name() == "buildx" && slices.Contains([]string{"bootstrap", "create", "inspect", "ls", "rm", "stop", "use"}, args[0]) {
		return e.WithHint("there is one builder to choose: this program")
	}
	if why, ok := absent[args[0]]; ok {
		return e.WithHint("%s", why)
	}
	if near := diag.Nearest(args[0], names); near != "" {
		return e.WithHint("did you mean %q?", near)
	}
	return e.WithHint("%s --help lists the commands", cmd.CommandPath())
}

// exactly refuses any other number of arguments, saying what they are.
func exactly(n int, what string) cobra.PositionalArgs {
	return between(n, n, what)
}

func between(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || (most >= 0 && len(args) > most) {
			return usage("%s takes %s, not %d arguments", cmd.CommandPath(), what, len(args)).WithHint("usage: %s", cmd.UseLine())
		}
		return nil
	}
}

// rootDir is where images and caches are.
func (g *globals) rootDir() (string, error) {
	dir := g.root
	if dir == "" {
		dir = os.Getenv("BUILDER_ROOT")
	}
	if dir == "" {
		if os.Geteuid() == 0 {
			return "/var/lib/builder", nil
		}
		data := os.Getenv("XDG_DATA_HOME")
		if data == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", usage("there is no home directory to keep images in").WithHint("say where: --root DIR or BUILDER_ROOT")
			}
			data = filepath.Join(home, ".local", "share")
		}
		dir = filepath.Join(data, "builder")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("--root %s: %w", dir, err)
	}
	return abs, nil
}
