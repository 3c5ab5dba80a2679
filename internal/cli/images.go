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

// ago says how long something is past, as docker does: hours are rounded, and what
// is longer is counted in whole ones.
func ago(t time.Time) string {
	if t.IsZero() {
		return "N/A"
	}
	d := time.Since(t)
	hours := int(d.Hours() + 0.5)
	switch {
	case d < time.Second:
		return "Less than a second ago"
	case d < 2*time.Second:
		return "1 second ago"
	case d < time.Minute:
		return fmt.Sprintf("%d seconds ago", int(d.Seconds()))
	case d < 2*time.Minute:
		return "About a minute ago"
	case d < time.Hour:
		return fmt.Sprintf("%d minutes ago", int(d.Minutes()))
	case hours == 1:
		return "About an hour ago"
	case hours < 48:
		return fmt.Sprintf("%d hours ago", hours)
	case hours < 24*7*2:
		return fmt.Sprintf("%d days ago", hours/24)
	case hours < 24*30*2:
		return fmt.Sprintf("%d weeks ago", hours/24/7)
	case hours < 24*365*2:
		return fmt.Sprintf("%d months ago", hours/24/30)
	default:
		return fmt.Sprintf("%d years ago", int(d.Hours())/24/365)
	}
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
