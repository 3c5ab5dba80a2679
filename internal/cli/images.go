package cli

import (
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
	t := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, cell)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

func newImages(g *globals) *cobra.Command {
	var quiet, noTrunc, digests bool
	cmd := &cobra.Command{
		Use:     "images [OPTIONS] [NAME]",
		Short:   "List the images of this machine",
		Example: "  builder images\n  builder images app",
		Args:    between(0, 1, "at most one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				all, err := m.store.List()
				if err != nil {
					return err
				}
				keep := func(image.Reference) bool { return true }
				if len(args) == 1 {
					if keep, err = matching(args[0]); err != nil {
						return err
					}
				}
				return printImages(g.out, all, keep, quiet, noTrunc, digests)
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show IDs only")
	cmd.Flags().BoolVar(&noTrunc, "no-trunc", false, "show IDs in full")
	cmd.Flags().BoolVar(&digests, "digests", false, "show manifest digests")
	return cmd
}

// matching returns which names an argument of images means: a repository, or
// one tag in it.
func matching(text string) (func(image.Reference) bool, error) {
	want, err := image.ParseReference(text)
	if err != nil {
		return nil, usage("%v", err)
	}
	tagged := want.Familiar() == text || want.String() == text
	return func(ref image.Reference) bool {
		return ref.Name() == want.Name() && (!tagged || ref.Tag() == want.Tag())
	}, nil
}

func printImages(w io.Writer, all []store.Listed, keep func(image.Reference) bool, quiet, noTrunc, digests bool) error {
	head := []string{"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"}
	if digests {
		head = []string{"REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"}
	}
	rows := [][]string{head}
	seen := map[image.Digest]bool{}
	for _, listed := range all {
		names := listed.Names
		if len(names) == 0 {
			names = []store.Name{{ID: listed.ID}}
		}
		for _, n := range names {
			if !keep(n.Reference) {
				continue
			}
			id := string(listed.ID)
			if !noTrunc {
				id = listed.ID.Encoded()[:12]
			}
			if quiet {
				if !seen[listed.ID] {
					fmt.Fprintln(w, id)
				}
				seen[listed.ID] = true
				continue
			}
			repository, tag := "<none>", "<none>"
			if !n.Reference.IsZero() {
				repository = n.Reference.FamiliarName()
				if n.Reference.Tag() != "" {
					tag = n.Reference.Tag()
				}
			}
			row := []string{repository, tag, id, ago(listed.Made), byteCount(listed.Size())}
			if digests {
				digest := "<none>"
				if n.Manifest != "" {
					digest = string(n.Manifest)
				}
				row = []string{repository, tag, digest, id, ago(listed.Made), byteCount(listed.Size())}
			}
			rows = append(rows, row)
		}
	}
	if quiet {
		return nil
	}
	return table(w, rows)
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
	cmd := &cobra.Command{
		Use:     "rmi [OPTIONS] IMAGE [IMAGE...]",
		Short:   "Remove images or names of images",
		Example: "  builder rmi app:1.0",
		Args:    between(1, -1, "at least one image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				// This process needs no blob: its hold would keep what it removes.
				errs := []error{m.letGo()}
				for _, arg := range args {
					removed, err := m.store.Remove(ctx, arg, store.RemoveOptions{Force: force, KeepUntagged: noPrune})
					for _, line := range removed.Lines() {
						fmt.Fprintln(g.out, line)
					}
					if err != nil && !(force && errors.Is(err, store.ErrNotFound)) {
						errs = append(errs, err)
					}
				}
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "remove an image although several repositories name it")
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
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				tags, err := parseTags(args[1:])
				if err != nil {
					return err
				}
				found, err := m.store.Find(ctx, args[0], image.Platform{})
				if err != nil {
					return err
				}
				_, err = m.store.Tag(ctx, store.Name{Reference: tags[0], ID: found.ID, Platform: found.Platform})
				return err
			})
		},
	}
}
