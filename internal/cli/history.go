package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/store"
)

// historyFlags are the flags of history as they were typed.
type historyFlags struct {
	quiet, noTrunc, human bool
	format, platform      string
}

func newHistory(g *globals) *cobra.Command {
	f := &historyFlags{}
	cmd := &cobra.Command{
		Use:     "history [OPTIONS] IMAGE",
		Short:   "Show how an image was made",
		Example: "  builder history app:1.0\n  builder history --no-trunc --format '{{.Size}} {{.CreatedBy}}' app:1.0",
		Args:    exactly(1, "one image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.quiet && f.format == "" {
				f.format = "{{.ID}}"
			}
			show, err := printer(f.format)
			if err != nil {
				return err
			}
			want, err := wanted(f.platform)
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				found, err := m.findFor(ctx, args[0], want)
				if err != nil {
					return err
				}
				c, _, err := m.store.Config(ctx, found.ID)
				if err != nil {
					return err
				}
				return show(g.out, f.listing(found.Record, c, m.sizes()))
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show IDs only")
	fl.BoolVar(&f.noTrunc, "no-trunc", false, "show everything in full")
	fl.BoolVarP(&f.human, "human", "H", true, "show sizes and dates for people")
	fl.StringVar(&f.format, "format", "", "table, json, a Go template, or table and a template")
	fl.StringVar(&f.platform, "platform", "", "platform of the image, where the name means several")
	return cmd
}

// wanted parses a platform that may be left out: then any will do.
func wanted(text string) (image.Platform, error) {
	if text == "" {
		return image.Platform{}, nil
	}
	return platformOr(text)
}

// findFor finds an image; one for another platform than the one that was asked
// for is none.
func (m *machine) findFor(ctx context.Context, name string, want image.Platform) (store.Found, error) {
	found, err := m.store.Find(ctx, name, want)
	if err != nil || want.OS == "" || image.MatchPlatform(want, found.Platform) {
		return found, err
	}
	return found, usage("image %s is for %s, not for %s", name, image.FormatPlatform(found.Platform), image.FormatPlatform(want)).
		WithHint("builder pull --platform %s %s", image.FormatPlatform(want), name)
}

// listing has the newest entry first, as docker does; only it has an ID.
func (f *historyFlags) listing(r store.Record, c image.Config, known sizes) listing {
	l := listing{
		columns: []column{{"ID", "IMAGE"}, {"CreatedSince", "CREATED"}, {"CreatedBy", "CREATED BY"}, {"Size", "SIZE"}, {"Comment", "COMMENT"}},
		more:    map[string]string{"CreatedAt": "CREATED AT"},
	}
	if !f.human {
		l.columns[1] = column{"CreatedAt", "CREATED AT"}
		l.more = map[string]string{"CreatedSince": "CREATED"}
	}
	sizes := historySizes(r, c, known)
	for i := len(c.History) - 1; i >= 0; i-- {
		h := c.History[i]
		line := row{"ID": "<missing>", "CreatedSince": "N/A", "CreatedAt": "N/A", "CreatedBy": strings.ReplaceAll(h.CreatedBy, "\t", " "), "Comment": h.Comment}
		if i == len(c.History)-1 {
			line["ID"] = shortID(r.ID, f.noTrunc)
		}
		if by := []rune(line["CreatedBy"]); !f.noTrunc && len(by) > 45 {
			line["CreatedBy"] = string(by[:44]) + "…"
		}
		if h.Created != nil {
			line["CreatedSince"], line["CreatedAt"] = ago(*h.Created), h.Created.Format(time.RFC3339)
		}
		line["Size"] = shortSize(sizes[i])
		if !f.human {
			line["Size"] = strconv.FormatInt(sizes[i], 10)
		}
		l.rows = append(l.rows, line)
	}
	return l
}

// historySizes are the sizes of the layers that the entries of a history made.
func historySizes(r store.Record, c image.Config, known sizes) []int64 {
	sizes := make([]int64, len(c.History))
	next := 0
	for i, h := range c.History {
		if !h.EmptyLayer && next < len(r.Layers) {
			sizes[i] = known.layer(r.Layers[next])
			next++
		}
	}
	return sizes
}
