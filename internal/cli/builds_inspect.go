package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"builder/internal/history"
)

func newBuildsInspect(g *globals) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "inspect [OPTIONS] [REF]",
		Short:   "Show what is known of a build",
		Example: "  builder history inspect\n  builder history inspect --format '{{.Status}}' ^1",
		Args:    between(0, 1, "one build at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			show, err := buildPrinter(format)
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				k, err := m.build(args...)
				if err != nil {
					return err
				}
				return show(g.out, k.Record)
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "pretty", "pretty, json, or a Go template")
	cmd.AddCommand(&cobra.Command{
		Use:     "attachment [OPTIONS] [REF] [DIGEST]",
		Short:   "Not there: builds make no attestations",
		Example: "  builder history inspect attachment",
		Hidden:  true,
		Args:    between(0, 2, "one build and one digest at most"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("%s: builds make no attestations", cmd.CommandPath()).WithHint("builder history inspect shows what a build was made from")
		},
	})
	return cmd
}

func buildPrinter(format string) (func(io.Writer, *history.Record) error, error) {
	switch format {
	case "", "pretty":
		return prettyBuild, nil
	case "json":
		return func(w io.Writer, r *history.Record) error { return writeJSON(w, r) }, nil
	}
	t, err := parseTemplate(unescape(format))
	if err != nil {
		return nil, err
	}
	return func(w io.Writer, r *history.Record) error {
		if err := t.Execute(w, r); err != nil {
			return usage("--format: %v", err).WithHint("--format json shows the fields")
		}
		_, err := fmt.Fprintln(w)
		return err
	}, nil
}

// prettyBuild writes a record for people, in buildx's form.
func prettyBuild(out io.Writer, r *history.Record) error {
	w := tabwriter.NewWriter(out, 1, 8, 1, '\t', 0)
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s:\t%s\n", name, harmless(value))
		}
	}
	field("Name", r.Name)
	field("Context", r.Context)
	field("Dockerfile", r.Dockerfile)
	field("VCS Repository", r.VCSRepository)
	field("VCS Revision", r.VCSRevision)
	field("Target", r.Target)
	field("Platforms", strings.Join(r.Platform, ", "))
	for _, o := range r.Outputs {
		field("Output", o)
	}
	fmt.Fprintln(w)
	field("Started", r.StartedAt.Local().Format(time.DateTime))
	field("Duration", shortDuration(r.Duration))
	if r.Status != history.Completed {
		field("Status", string(r.Status))
	}
	cached := ""
	if r.NumTotalSteps > 0 {
		cached = fmt.Sprintf(" (%d%% cached)", 100*r.NumCachedSteps/r.NumTotalSteps)
	}
	field("Build Steps", fmt.Sprintf("%d/%d%s", r.NumCompletedSteps, r.NumTotalSteps, cached))
	var rows [][]string
	for _, m := range r.Materials {
		digest := ""
		if len(m.Digests) > 0 {
			digest = string(m.Digests[0])
		}
		rows = append(rows, []string{m.URI, digest})
	}
	buildTable(w, "Materials:\nURI\tDIGEST", rows)
	buildTable(w, "NAMED CONTEXT\tVALUE", pairRows(r.NamedContexts))
	buildTable(w, "BUILD ARG\tVALUE", pairRows(r.BuildArgs))
	buildTable(w, "LABEL\tVALUE", pairRows(r.Labels))
	rows = nil
	for _, img := range r.Images {
		rows = append(rows, []string{img.Platform, string(img.ID), strings.Join(img.Names, ", ")})
	}
	buildTable(w, "PLATFORM\tIMAGE ID\tNAMES", rows)
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "\nWarning: %s\n", lines(warning))
	}
	if r.Error != nil {
		fmt.Fprintln(w)
		field("Step", r.Error.Name)
		fmt.Fprintf(w, "Error: %s\n", lines(r.Error.Message))
	}
	fmt.Fprintf(w, "\nPrint build logs: builder history logs %s\n", r.Ref)
	return w.Flush()
}

// lines is harmless for a text of several lines.
func lines(text string) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range all {
		all[i] = harmless(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(all, "\n")
}

func pairRows(list []history.Pair) (rows [][]string) {
	for _, p := range list {
		rows = append(rows, []string{p.Name, p.Value})
	}
	return rows
}

func buildTable(w *tabwriter.Writer, head string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", head)
	for _, cells := range rows {
		for i := range cells {
			cells[i] = harmless(cells[i])
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
}
