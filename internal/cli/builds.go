package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"builder/internal/history"
)

// historyCommands are buildx's commands about records of builds.
func historyCommands(g *globals) []*cobra.Command {
	return []*cobra.Command{
		newBuildsLs(g), newBuildsInspect(g), newBuildsLogs(g), newBuildsTrace(g), newBuildsRm(g), newBuildsExport(g), newBuildsImport(g), newBuildsOpen(),
	}
}

// newHistoryGroup is buildx's "history", which knows builds alone.
func newHistoryGroup(g *globals) *cobra.Command {
	return group("history", "Show records of builds", "  builder builder history ls", historyCommands(g)...)
}

// newBothHistories is "builder history": docker's of an image, and as its subcommands
// buildx's of builds.
func newBothHistories(g *globals) *cobra.Command {
	cmd := newHistory(g)
	cmd.Long = "Show how an image was made; with one of the commands below, what is known of builds.\n" +
		"An image that has the name of such a command is reached by name and tag, such as ls:latest, or by builder image history."
	cmd.AddCommand(historyCommands(g)...)
	return cmd
}

// skipped tells of a record that cannot be read.
func (g *globals) skipped(err error) { fmt.Fprintf(g.err, "warning: a record is left out: %v\n", err) }

// build finds the record of a build; the newest where there is no word.
func (m *machine) build(words ...string) (history.Kept, error) {
	word := "^0"
	if len(words) > 0 {
		word = words[0]
	}
	k, err := m.history().Find(word)
	if errors.Is(err, history.ErrNotFound) {
		return k, usage("%v", err).WithHint("builder history ls shows them; ^0 is the newest and ^1 the one before")
	}
	return k, err
}

func newBuildsRm(g *globals) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "rm [OPTIONS] [REF...]",
		Aliases: []string{"remove"},
		Short:   "Remove records of builds",
		Example: "  builder history rm ^1\n  builder history rm --all",
		Args: func(cmd *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return usage("%s takes either builds or --all", cmd.CommandPath())
			}
			if !all && len(args) == 0 {
				return usage("%s takes one build or more, or --all", cmd.CommandPath()).WithHint("builder history ls shows them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(_ context.Context, m *machine) error { return m.removeBuilds(args, all) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove all records")
	return cmd
}

// removeBuilds finds all that words mean before the first one goes: ^N counts those
// that are there.
func (m *machine) removeBuilds(words []string, all bool) error {
	if all {
		_, err := m.history().RemoveAll()
		return err
	}
	var list []history.Kept
	var errs []error
	for _, word := range words {
		k, err := m.build(word)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, k)
	}
	for _, k := range list {
		errs = append(errs, m.history().Remove(k))
	}
	return errors.Join(errs...)
}

func newBuildsOpen() *cobra.Command {
	return &cobra.Command{
		Use:     "open [REF]",
		Short:   "Not there: it opens Docker Desktop",
		Example: "  builder history open",
		Hidden:  true,
		Args:    between(0, 1, "one build at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			word := strings.Join(args, "")
			return usage("%s: there is no window of Docker Desktop to open", cmd.CommandPath()).
				WithHint("%s", strings.TrimSpace("builder history inspect "+word)+" shows the build, and builder history trace what a viewer of traces reads")
		},
	}
}
