package cli

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/store"
)

// imagesFlags are the flags of images as they were typed.
type imagesFlags struct {
	quiet, noTrunc, digests, origin, all bool
	format                               string
	filters                              []string
}

// imageFilters are the keys that images --filter takes.
var imageFilters = []string{"reference", "dangling", "label", "before", "since", "until", "origin"}

func newImages(g *globals) *cobra.Command {
	f := &imagesFlags{}
	cmd := &cobra.Command{
		Use:     "images [OPTIONS] [NAME[:TAG]]",
		Short:   "List the images of this machine",
		Example: "  builder images\n  builder images --filter reference='team/*' --format '{{.Repository}}:{{.Tag}} {{.Size}}'",
		Args:    between(0, 1, "at most one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			format := f.format
			if f.quiet && format == "" {
				format = "{{.ID}}"
			}
			show, err := printer(format)
			if err != nil {
				return err
			}
			keys, err := parseFilters(f.filters, imageFilters...)
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				rows, err := m.imageRows(ctx, f, keys, args)
				if err != nil {
					return err
				}
				return show(g.out, f.listing(rows))
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.all, "all", "a", false, "show what a name means on other platforms too")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show IDs only")
	fl.BoolVar(&f.noTrunc, "no-trunc", false, "show IDs in full")
	fl.BoolVar(&f.digests, "digests", false, "show manifest digests")
	fl.BoolVar(&f.origin, "origin", false, "show how images came to be: recipe, pull, load, import, commit")
	hold(fl, "tree", "", "false", "images -a has a row for each platform of a name")
	fl.Lookup("tree").Hidden = true
	fl.StringVar(&f.format, "format", "", "table, json, a Go template, or table and a template")
	fl.StringArrayVarP(&f.filters, "filter", "f", nil, "show what fits, as KEY=VALUE: "+strings.Join(imageFilters, ", "))
	return cmd
}

func (f *imagesFlags) listing(rows []row) listing {
	columns := []column{{"Repository", "REPOSITORY"}, {"Tag", "TAG"}}
	if f.digests {
		columns = append(columns, column{"Digest", "DIGEST"})
	}
	columns = append(columns, column{"ID", "IMAGE ID"}, column{"CreatedSince", "CREATED"}, column{"Size", "SIZE"})
	if f.origin {
		columns = append(columns, column{"Origin", "ORIGIN"})
	}
	if f.all {
		columns = append(columns, column{"Platform", "PLATFORM"})
	}
	return listing{columns: columns, rows: rows, more: map[string]string{
		"Digest": "DIGEST", "CreatedAt": "CREATED AT", "Origin": "ORIGIN", "Platform": "PLATFORM",
		"Containers": "CONTAINERS", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "VirtualSize": "SIZE",
	}}
}

// imageRows returns what images lists: a row for each name, and one for an image
// that nothing names.
func (m *machine) imageRows(ctx context.Context, f *imagesFlags, keys filters, args []string) ([]row, error) {
	all, err := m.store.List()
	if err != nil {
		return nil, err
	}
	keep, err := m.imageFilter(ctx, keys, all)
	if err != nil {
		return nil, err
	}
	named := func(ref image.Reference) bool { return fitsAny(keys["reference"], ref) }
	if len(args) == 1 {
		if named, err = matching(args[0], named); err != nil {
			return nil, err
		}
	}
	dangling, ask, err := keys.claim("dangling")
	if err != nil {
		return nil, err
	}
	shown := shownPlatforms(all, f.all)
	rows, ids, sizes := []row{}, map[image.Digest]bool{}, m.sizes()
	for _, listed := range all {
		if ok, err := keep(listed); err != nil || !ok {
			if err != nil {
				return nil, err
			}
			continue
		}
		for _, n := range rowNames(listed, f.digests) {
			if !named(n.Reference) || !shown(n) || ask && dangling != (n.Reference.Tag() == "") {
				continue
			}
			if f.quiet && f.format == "" && ids[listed.ID] {
				continue
			}
			ids[listed.ID] = true
			rows = append(rows, imageRow(listed, n, sizes.image(listed.Record), f.noTrunc))
		}
	}
	return rows, nil
}

// rowNames are the names that get rows: the tags, and of what has none in a
// repository its digest there. An image without a name has one row.
func rowNames(l store.Listed, digests bool) []store.Name {
	tagged := map[string]image.Digest{}
	for _, n := range l.Names {
		if n.Reference.Tag() != "" {
			tagged[n.Reference.Name()] = n.Manifest
		}
	}
	var names []store.Name
	for _, n := range l.Names {
		with, ok := tagged[n.Reference.Name()]
		if n.Reference.Tag() != "" || !ok || digests && with != n.Reference.Digest() {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return []store.Name{{ID: l.ID, Platform: l.Platform}}
	}
	return names
}

// shownPlatforms returns which images of a name are listed: the one that the
// name means on this machine, or all.
func shownPlatforms(all []store.Listed, every bool) func(store.Name) bool {
	if every {
		return func(store.Name) bool { return true }
	}
	here := image.DefaultPlatform()
	best := map[image.Reference]store.Name{}
	for _, l := range all {
		for _, n := range l.Names {
			if had, ok := best[n.Reference]; !ok || !image.MatchPlatform(here, had.Platform) && image.MatchPlatform(here, n.Platform) {
				best[n.Reference] = n
			}
		}
	}
	return func(n store.Name) bool { return n.Reference.IsZero() || best[n.Reference].ID == n.ID }
}

func imageRow(l store.Listed, n store.Name, size int64, noTrunc bool) row {
	r := row{
		"Repository": "<none>", "Tag": "<none>", "Digest": "<none>", "ID": shortID(l.ID, noTrunc),
		"CreatedSince": ago(l.Made), "CreatedAt": l.Made.Local().Format("2006-01-02 15:04:05 -0700 MST"),
		"Size": shortSize(size), "Origin": string(l.Origin), "Platform": image.FormatPlatform(l.Platform),
		// What only system df works out: docker's lists say so, too.
		"VirtualSize": shortSize(size), "Containers": "N/A", "SharedSize": "N/A", "UniqueSize": "N/A",
	}
	if !n.Reference.IsZero() {
		r["Repository"] = n.Reference.FamiliarName()
		if n.Reference.Tag() != "" {
			r["Tag"] = n.Reference.Tag()
		}
	}
	if n.Manifest != "" {
		r["Digest"] = string(n.Manifest)
	}
	return r
}

// shortID is an image's ID as lists show it.
func shortID(id image.Digest, noTrunc bool) string {
	if noTrunc {
		return string(id)
	}
	return id.Encoded()[:12]
}

// shortSize writes a size as docker's lists do, with three digits.
func shortSize(n int64) string { return byteCountDigits(n, 3) }

// matching returns which names an argument of images means: a pattern of
// repositories, or one tag in them.
func matching(text string, also func(image.Reference) bool) (func(image.Reference) bool, error) {
	if strings.ContainsAny(text, "*?[") {
		if _, err := path.Match(text, ""); err != nil {
			return nil, usage("%q is no pattern: %v", text, err)
		}
		return func(ref image.Reference) bool { return fits(text, ref) && also(ref) }, nil
	}
	want, err := image.ParseReference(text)
	if err != nil {
		return nil, usage("%v", err)
	}
	tagged := want.Familiar() == text || want.String() == text
	return func(ref image.Reference) bool {
		return ref.Name() == want.Name() && (!tagged || ref.Tag() == want.Tag()) && also(ref)
	}, nil
}

// fitsAny reports whether a name fits one of several patterns, or there are none.
func fitsAny(patterns []string, ref image.Reference) bool {
	for _, p := range patterns {
		if fits(p, ref) {
			return true
		}
	}
	return len(patterns) == 0
}

// fits matches a pattern with the familiar form of a name, with its tag or
// without: docker's rule.
func fits(pattern string, ref image.Reference) bool {
	if ref.IsZero() {
		return false
	}
	for _, name := range []string{ref.Familiar(), ref.FamiliarName(), ref.String(), ref.Name()} {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}

// imageFilter returns which images the filters keep, leaving out those that ask
// about names.
func (m *machine) imageFilter(ctx context.Context, keys filters, all []store.Listed) (func(store.Listed) (bool, error), error) {
	for _, p := range keys["reference"] {
		if _, err := path.Match(p, ""); err != nil {
			return nil, usage("--filter: reference=%s is no pattern: %v", p, err)
		}
	}
	after, err := m.madeOf(ctx, keys["since"])
	if err != nil {
		return nil, err
	}
	before, err := m.madeOf(ctx, keys["before"])
	if err != nil {
		return nil, err
	}
	until, err := keys.until()
	if err != nil {
		return nil, err
	}
	return func(l store.Listed) (bool, error) {
		for _, at := range after {
			if !l.Made.After(at) {
				return false, nil
			}
		}
		for _, at := range append(before, until...) {
			if !l.Made.Before(at) {
				return false, nil
			}
		}
		if want := keys["origin"]; len(want) > 0 && !slices.Contains(want, string(l.Origin)) {
			return false, nil
		}
		if len(keys["label"]) == 0 {
			return true, nil
		}
		c, _, err := m.store.Config(ctx, l.ID)
		return err == nil && keys.labelsFit("label", c.Config.Labels), err
	}, nil
}

// madeOf returns when images were made.
func (m *machine) madeOf(ctx context.Context, names []string) ([]time.Time, error) {
	var times []time.Time
	for _, name := range names {
		found, err := m.store.Find(ctx, name, image.Platform{})
		if err != nil {
			return nil, err
		}
		times = append(times, found.Made)
	}
	return times, nil
}

// until reads the filters that mean a moment: a date, seconds since 1970, or how
// long ago.
func (f filters) until() ([]time.Time, error) {
	var times []time.Time
	for _, text := range f["until"] {
		at, err := filterMoment(text, time.Now())
		if err != nil {
			return nil, usage("--filter: until=%s: %v", text, err).WithHint("write a duration such as 24h, or a date such as 2006-01-02T15:04:05")
		}
		times = append(times, at)
	}
	return times, nil
}

// filterMoment reads a moment as docker's filters take it.
func filterMoment(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02Z07:00", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	var seconds, nanos int64
	if n, err := fmt.Sscanf(text+".0", "%d.%d", &seconds, &nanos); err == nil && n == 2 && strings.Trim(text, "0123456789.") == "" {
		return time.Unix(seconds, nanos), nil
	}
	return time.Time{}, fmt.Errorf("it is neither a duration nor a date")
}
