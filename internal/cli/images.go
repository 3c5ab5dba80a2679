package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/store"
)

// withMachine opens the store for the length of a command.
func withMachine(g *globals, cmd *cobra.Command, run func(context.Context, *machine) error) (err error) {
	m, err := openMachine(cmd.Context(), g)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return run(cmd.Context(), m)
}

// table writes columns as docker does.
func table(w io.Writer, rows [][]string) error {
	all := bufio.NewWriterSize(w, 64<<10) // the tabwriter writes cell by cell
	t := tabwriter.NewWriter(all, 10, 1, 3, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, cell)
		}
		fmt.Fprintln(t)
	}
	return errors.Join(t.Flush(), all.Flush())
}

// ago says how long something is past, as docker does.
func ago(t time.Time) string {
	if t.IsZero() {
		return "N/A"
	}
	d := time.Since(t)
	for _, unit := range []struct {
		limit, length time.Duration
		one, many     string
	}{
		{time.Second, 0, "Less than a second ago", ""},
		{2 * time.Second, 0, "1 second ago", ""},
		{time.Minute, time.Second, "", "%d seconds ago"},
		{2 * time.Minute, 0, "About a minute ago", ""},
		{time.Hour, time.Minute, "", "%d minutes ago"},
		{2 * time.Hour, 0, "About an hour ago", ""},
		{48 * time.Hour, time.Hour, "", "%d hours ago"},
		{14 * 24 * time.Hour, 24 * time.Hour, "", "%d days ago"},
		{60 * 24 * time.Hour, 7 * 24 * time.Hour, "", "%d weeks ago"},
		{2 * 365 * 24 * time.Hour, 30 * 24 * time.Hour, "", "%d months ago"},
	} {
		if d < unit.limit {
			if unit.one != "" {
				return unit.one
			}
			return fmt.Sprintf(unit.many, int(d/unit.length))
		}
	}
	return fmt.Sprintf("%d years ago", int(d/(365*24*time.Hour)))
}

func newRmi(g *globals) *cobra.Command {
	var force, noPrune bool
	var platforms []string
	cmd := &cobra.Command{
		Use:     "rmi [OPTIONS] IMAGE [IMAGE...]",
		Short:   "Remove images or names of images",
		Example: "  builder rmi app:1.0",
		Args:    between(1, -1, "at least one image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			wants, err := wantedAll(platforms)
			if err != nil {
				return err
			}
			if len(wants) == 0 {
				wants = []image.Platform{{}}
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				// This process needs no blob: its hold would keep what it removes.
				errs := []error{m.letGo()}
				for _, arg := range args {
					for _, want := range wants {
						removed, err := m.removeImage(ctx, arg, store.RemoveOptions{Force: force, KeepUntagged: noPrune, Platform: want})
						for _, line := range removed.Lines() {
							fmt.Fprintln(g.out, line)
						}
						if err != nil && !(force && errors.Is(err, store.ErrNotFound)) {
							errs = append(errs, err)
						}
					}
				}
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "remove an image although several repositories name it; of one that a stopped container needs, the names")
	cmd.Flags().StringSliceVar(&platforms, "platform", nil, "remove the images for these platforms only")
	cmd.Flags().BoolVar(&noPrune, "no-prune", false, "keep an image that has lost its last name")
	return cmd
}

func newTag(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "tag IMAGE NAME[:TAG]",
		Short:   "Give an image another name",
		Example: "  builder tag app:1.0 registry.example.com/app:1.0",
		Args:    exactly(2, "an image and a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			tags, err := parseTags("", args[1:])
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				found, err := m.store.Find(ctx, args[0], image.Platform{})
				if err != nil {
					return err
				}
				// Who types a name means it: what it was is said, not refused.
				if err := m.claim(ctx, found.Record, tags, true); err != nil || found.Name.Reference.IsZero() {
					return err
				}
				return m.tagOthers(ctx, found.Name.Reference, tags[0])
			})
		},
	}
}
