package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/registry"
)

// searchFlags are the flags of search as they were typed.
type searchFlags struct {
	limit   int
	noTrunc bool
	format  string
	filters []string
}

func newSearch(g *globals) *cobra.Command {
	f := &searchFlags{}
	cmd := &cobra.Command{
		Use:     "search [OPTIONS] TERM | REGISTRY/[TERM]",
		Short:   "Look for images on Docker Hub, or in another registry",
		Example: "  builder search --filter is-official=true debian\n  builder search registry.example.com:5000/team",
		Args:    exactly(1, "one term"),
		RunE: func(cmd *cobra.Command, args []string) error {
			show, err := printer(f.format)
			if err != nil {
				return err
			}
			keys, err := parseFilters(f.filters, "stars", "is-official", "is-automated")
			if err != nil {
				return err
			}
			if f.limit < 1 || f.limit > 100 {
				return usage("--limit: %d is not between 1 and 100", f.limit)
			}
			client, err := g.registry()
			if err != nil {
				return err
			}
			var found listing
			if host, term, ok := searchPlace(args[0]); ok {
				found, err = f.selfHosted(cmd.Context(), client, host, term)
			} else {
				found, err = f.hub(cmd.Context(), client, args[0], keys)
			}
			if err != nil {
				return err
			}
			return show(g.out, found)
		},
	}
	fl := cmd.Flags()
	fl.IntVar(&f.limit, "limit", 25, "how many results are shown at most")
	fl.BoolVar(&f.noTrunc, "no-trunc", false, "show descriptions in full")
	fl.StringVar(&f.format, "format", "", "table, json, a Go template, or table and a template")
	fl.StringArrayVarP(&f.filters, "filter", "f", nil, "show what fits, as KEY=VALUE: stars, is-official, is-automated")
	g.tlsFlag(cmd)
	return cmd
}

// searchPlace splits a term that begins with a registry, by the rule of image
// names: a first part with a dot or a colon, or localhost.
func searchPlace(text string) (host, term string, ok bool) {
	host, term, slash := strings.Cut(text, "/")
	if !slash && !strings.Contains(host, ":") || !strings.ContainsAny(host, ".:") && host != "localhost" || host == image.DefaultDomain {
		return "", "", false
	}
	return host, term, true
}

// hub searches Docker Hub.
func (f *searchFlags) hub(ctx context.Context, client *registry.Client, term string, keys filters) (listing, error) {
	term = strings.TrimPrefix(term, image.DefaultDomain+"/")
	l := listing{columns: []column{
		{"Name", "NAME"}, {"Description", "DESCRIPTION"}, {"StarCount", "STARS"}, {"IsOfficial", "OFFICIAL"}, {"IsAutomated", "AUTOMATED"},
	}}
	fit, err := searchFilter(keys)
	if err != nil {
		return l, err
	}
	found, err := client.Search(ctx, term, f.limit)
	if err != nil {
		return l, err
	}
	for _, r := range found {
		if !fit(r) {
			continue
		}
		text := strings.Join(strings.Fields(r.Description), " ")
		if runes := []rune(text); !f.noTrunc && len(runes) > 45 {
			text = string(runes[:44]) + "…"
		}
		l.rows = append(l.rows, row{
			"Name": r.Name, "Description": text, "StarCount": strconv.Itoa(r.Stars), "IsOfficial": f.okay(r.Official), "IsAutomated": f.okay(r.Automated),
		})
	}
	return l, nil
}

// okay is how docker's table says yes, and how its JSON says it.
func (f *searchFlags) okay(claim bool) string {
	if f.format == "json" {
		return strconv.FormatBool(claim)
	}
	if claim {
		return "[OK]"
	}
	return ""
}

func searchFilter(keys filters) (func(registry.Result) bool, error) {
	stars := 0
	for _, text := range keys["stars"] {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, usage("--filter: stars=%s is no number", text)
		}
		stars = max(stars, n)
	}
	official, askOfficial, err := keys.claim("is-official")
	if err != nil {
		return nil, err
	}
	automated, askAutomated, err := keys.claim("is-automated")
	if err != nil {
		return nil, err
	}
	return func(r registry.Result) bool {
		return r.Stars >= stars && (!askOfficial || r.Official == official) && (!askAutomated || r.Automated == automated)
	}, nil
}

// selfHosted lists the repositories of a registry that fit, with their tags.
func (f *searchFlags) selfHosted(ctx context.Context, client *registry.Client, host, term string) (listing, error) {
	l := listing{columns: []column{{"Name", "NAME"}, {"Tags", "TAGS"}}}
	if len(f.filters) > 0 {
		return l, usage("--filter: registries other than Docker Hub know neither stars nor officials")
	}
	var paths []string
	err := client.Catalog(ctx, host, term, func(path string) bool {
		paths = append(paths, path)
		return len(paths) < f.limit
	})
	if err != nil {
		return l, err
	}
	for _, path := range paths {
		ref, err := image.ParseReference(host + "/" + path)
		if err != nil {
			return l, fmt.Errorf("list %s: %w", host, err)
		}
		tags, err := client.Tags(ctx, ref)
		if err != nil {
			return l, err
		}
		text := strings.Join(tags, ", ")
		if runes := []rune(text); !f.noTrunc && len(runes) > 45 {
			text = string(runes[:44]) + "…"
		}
		l.rows = append(l.rows, row{"Name": ref.FamiliarName(), "Tags": text})
	}
	return l, nil
}
