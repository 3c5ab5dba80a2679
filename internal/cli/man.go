package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"builder/image/store"
	"builder/internal/container"
)

// newMan writes the manual: a page for each command, made of what --help says.
func newMan(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages into a directory",
		Example: "  builder man /usr/local/share/man/man1",
		Args:    exactly(1, "a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("manual: %w", err)
			}
			return writePages(cmd.Root(), args[0])
		},
	}
}

// writePages writes the page of a command and those of its own.
func writePages(cmd *cobra.Command, dir string) error {
	if cmd.Hidden || cmd.Name() == "help" {
		return nil
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(page(cmd, name)), 0o644); err != nil {
		return fmt.Errorf("manual: %w", err)
	}
	for _, c := range cmd.Commands() {
		if err := writePages(c, dir); err != nil {
			return err
		}
	}
	return nil
}

// page is a command's manual page: man(7).
func page(cmd *cobra.Command, name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"builder\" \"Builder Manual\"\n", roff(strings.ToUpper(name)))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n", roff(name), roff(cmd.Short), roff(cmd.UseLine()))
	if cmd.Long != "" {
		fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", roff(cmd.Long))
	}
	for _, set := range []struct {
		title string
		flags *pflag.FlagSet
	}{{"OPTIONS", cmd.NonInheritedFlags()}, {"GLOBAL OPTIONS", cmd.InheritedFlags()}} {
		if set.flags.HasAvailableFlags() {
			fmt.Fprintf(&b, ".SH %s\n", set.title)
			set.flags.VisitAll(func(f *pflag.Flag) { writeFlag(&b, f) })
		}
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(cmd.Example))
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range cmd.Commands() {
			if !c.Hidden && c.Name() != "help" {
				fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(name+"-"+c.Name()), roff(c.Short))
			}
		}
	}
	return b.String()
}

func writeFlag(b *strings.Builder, f *pflag.Flag) {
	if f.Hidden {
		return
	}
	value, text := pflag.UnquoteUsage(f)
	words := "--" + f.Name
	if f.Shorthand != "" {
		words = "-" + f.Shorthand + ", " + words
	}
	fmt.Fprintf(b, ".TP\n\\fB%s\\fR", roff(words))
	if value != "" {
		fmt.Fprintf(b, " \\fI%s\\fR", roff(value))
	}
	fmt.Fprintf(b, "\n%s\n", roff(text))
}

// roff keeps text from being taken for requests of roff(7).
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// completable are the commands whose arguments are images of this machine, alone
// and in the group image.
var completable = []string{"run", "create", "rmi", "rm", "tag", "inspect", "history", "save", "push", "images", "ls"}

// addCompletion has the shell complete names of images and volumes.
func (g *globals) addCompletion(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		g.addCompletion(c)
		takesImages := slices.Contains(completable, c.Name()) && (cmd.Name() == "image" || !cmd.HasParent() && c.Name() != "rm")
		switch {
		case c.ValidArgsFunction != nil:
		case takesImages:
			c.ValidArgsFunction = g.completeImages
		case cmd.Name() == "volume" && (c.Name() == "rm" || c.Name() == "inspect"):
			c.ValidArgsFunction = g.completeVolumes
		}
	}
}

// completeVolumes lists the names of volumes.
func (g *globals) completeVolumes(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	dir, err := g.rootDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	all, err := (&container.Store{Volumes: filepath.Join(dir, "volumes")}).ListVolumes()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var words []string
	for _, v := range all {
		if strings.HasPrefix(v.Name, start) {
			words = append(words, v.Name)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completeImages lists the names of images without opening more than the store.
func (g *globals) completeImages(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	dir, err := g.rootDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names, err := s.Names()
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, cobra.ShellCompDirectiveError
	}
	var words []string
	for _, n := range names {
		if n.Reference.Tag() != "" && strings.HasPrefix(n.Reference.Familiar(), start) {
			words = append(words, n.Reference.Familiar())
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
