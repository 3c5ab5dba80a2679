package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"builder/internal/diag"
	"builder/internal/history"
	"builder/planner"
)

// buildsFlags are the flags of history ls as they were typed.
type buildsFlags struct {
	format         string
	filters        []string
	noTrunc, local bool
}

func newBuildsLs(g *globals) *cobra.Command {
	f := &buildsFlags{}
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List records of builds",
		Example: "  builder history ls\n  builder history ls --filter status=error --filter 'duration>30s'",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			show, err := printer(f.format)
			if err != nil {
				return err
			}
			fits, err := f.parse()
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				list, err := m.history().List(g.skipped)
				if err != nil {
					return err
				}
				list = slices.DeleteFunc(list, func(k history.Kept) bool { return !fits(k.Record) })
				return show(g.out, f.listing(list))
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "table, json, a Go template, or table and a template")
	fl.StringArrayVar(&f.filters, "filter", nil, "show what fits: "+strings.Join(buildKeys, ", ")+" with =, !=, < or >")
	fl.BoolVar(&f.noTrunc, "no-trunc", false, "show everything in full")
	fl.BoolVar(&f.local, "local", false, "show builds of the repository that this directory is in")
	return cmd
}

func (f *buildsFlags) listing(list []history.Kept) listing {
	l := listing{
		columns: []column{{"Ref", "BUILD ID"}, {"Name", "NAME"}, {"Status", "STATUS"}, {"CreatedAt", "CREATED AT"}, {"Duration", "DURATION"}},
		more: map[string]string{
			"ref": "REF", "name": "NAME", "status": "STATUS", "created_at": "CREATED AT", "completed_at": "COMPLETED AT",
			"total_steps": "STEPS", "completed_steps": "COMPLETED STEPS", "cached_steps": "CACHED STEPS",
		},
	}
	if f.format == "json" {
		for _, k := range list {
			l.rows = append(l.rows, row{
				"ref": buildRef(k.Ref), "name": k.Name, "status": string(k.Status), "created_at": k.StartedAt.Format(time.RFC3339Nano), "completed_at": k.CompletedAt.Format(time.RFC3339Nano),
				"total_steps": strconv.Itoa(k.NumTotalSteps), "completed_steps": strconv.Itoa(k.NumCompletedSteps), "cached_steps": strconv.Itoa(k.NumCachedSteps),
			})
		}
		return l
	}
	l.more = nil
	for _, k := range list {
		name := k.Name
		if runes := []rune(name); !f.noTrunc && len(runes) > 36 && (f.format == "" || strings.HasPrefix(f.format, "table")) {
			name = ".." + string(runes[len(runes)-34:])
		}
		l.rows = append(l.rows, row{"Ref": k.Ref, "Name": name, "Status": string(k.Status), "CreatedAt": ago(k.StartedAt), "Duration": shortDuration(k.Duration)})
	}
	return l
}

// shortDuration writes a duration as buildx does: 0.3s, 12.4s, 1m 32s.
func shortDuration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%dm %2ds", int(d.Minutes()), int(d.Seconds())%60)
}

// buildKeys are what history ls chooses by.
var buildKeys = []string{"ref", "repository", "status", "startedAt", "completedAt", "duration"}

// parse returns whether a record fits all filters.
func (f *buildsFlags) parse() (func(*history.Record) bool, error) {
	var all []func(*history.Record) bool
	for _, text := range f.filters {
		fits, err := parseBuildFilter(text, time.Now())
		if err != nil {
			return nil, err
		}
		all = append(all, fits)
	}
	if f.local {
		here, err := localBuilds()
		if err != nil {
			return nil, err
		}
		all = append(all, here)
	}
	return func(r *history.Record) bool {
		return !slices.ContainsFunc(all, func(fits func(*history.Record) bool) bool { return !fits(r) })
	}, nil
}

// parseBuildFilter reads KEY, a comparison, and a value.
func parseBuildFilter(text string, now time.Time) (func(*history.Record) bool, error) {
	at := strings.IndexAny(text, "=<>!")
	if at < 1 {
		return nil, usage("--filter: %q is no comparison", text).WithHint("write status=error, ref!=REF or duration>30s")
	}
	key, sign, value := strings.TrimSpace(text[:at]), text[at:at+1], text[at+1:]
	if sign == "!" {
		rest, ok := strings.CutPrefix(value, "=")
		if !ok {
			return nil, usage("--filter: %q is no comparison", text).WithHint("write %s!=VALUE", key)
		}
		sign, value = "!=", rest
	}
	value = strings.TrimSpace(value)
	if i := slices.IndexFunc(buildKeys, func(k string) bool { return strings.EqualFold(k, key) }); i >= 0 {
		key = buildKeys[i]
	}
	switch key {
	case "ref", "repository", "status":
		if sign == "<" || sign == ">" {
			return nil, usage("--filter: %s has no order", key).WithHint("write %s=VALUE or %s!=VALUE", key, key)
		}
		return buildEquals(key, value, sign == "=")
	case "startedAt", "completedAt", "duration":
		if sign != "<" && sign != ">" {
			return nil, usage("--filter: %s is compared with < and >", key)
		}
		return buildOrder(key, sign, value, now)
	}
	e := usage("--filter: there is no filter %q here", key)
	if near := diag.Nearest(key, buildKeys); near != "" {
		return nil, e.WithHint("did you mean %q?", near)
	}
	return nil, e.WithHint("the keys are %s", strings.Join(buildKeys, ", "))
}

func buildEquals(key, value string, equal bool) (func(*history.Record) bool, error) {
	if key == "status" {
		words := map[string]history.Status{"completed": history.Completed, "success": history.Completed, "error": history.Failed, "failed": history.Failed, "canceled": history.Canceled, "cancelled": history.Canceled, "running": "Running"}
		status, ok := words[strings.ToLower(value)]
		if !ok {
			return nil, usage("--filter: there is no status %q", value).WithHint("completed, error or canceled; a build that runs has no record yet")
		}
		return func(r *history.Record) bool { return (r.Status == status) == equal }, nil
	}
	return func(r *history.Record) bool {
		if key == "repository" {
			return (r.VCSRepository == value) == equal
		}
		return (r.Ref == value || buildRef(r.Ref) == value) == equal
	}, nil
}

func buildOrder(key, sign, value string, now time.Time) (func(*history.Record) bool, error) {
	if key == "duration" {
		d, err := time.ParseDuration(value)
		if err != nil {
			return nil, usage("--filter: %q is no duration", value).WithHint("write duration>1m30s")
		}
		return func(r *history.Record) bool { return r.Duration != d && (r.Duration < d) == (sign == "<") }, nil
	}
	moment, err := filterMoment(value, now)
	if err != nil {
		return nil, usage("--filter: %s: %v", key, err).WithHint("write a duration before now such as 24h, or a date such as 2006-01-02T15:04:05")
	}
	return func(r *history.Record) bool {
		at := r.StartedAt
		if key == "completedAt" {
			at = r.CompletedAt
		}
		return !at.Equal(moment) && at.Before(moment) == (sign == "<")
	}, nil
}

// localBuilds choose builds of the repository that the working directory is in: what
// has the same origin or, where that is not known, lies in the same directory.
func localBuilds() (func(*history.Record) bool, error) {
	dir, err := workingDir()
	if err != nil {
		return nil, err
	}
	here := findRepository(dir)
	if here.root == "" {
		return nil, usage("--local: %s is in no git repository", dir)
	}
	return func(r *history.Record) bool {
		if here.remote != "" && r.VCSRepository != "" {
			return r.VCSRepository == planner.Redact(here.remote)
		}
		return !r.Imported && isBelow(r.Context, here.root)
	}, nil
}
