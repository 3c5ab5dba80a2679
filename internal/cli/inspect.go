package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/store"
	"builder/internal/container"
)

// inspected is an image under docker's field names.
type inspected struct {
	Id           string //nolint:revive,staticcheck // docker's name, which templates use
	RepoTags     []string
	RepoDigests  []string
	Parent       string
	Comment      string
	Created      time.Time
	Author       string
	Config       image.RunConfig
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string
	OsVersion    string `json:",omitempty"`
	Size         int64
	RootFS       inspectedRoot
	Metadata     inspectedMetadata
}

type inspectedRoot struct {
	Type   string
	Layers []image.Digest
}

// inspectedMetadata is local knowledge: no part of the image.
type inspectedMetadata struct {
	Origin string
	Made   time.Time
	Source string `json:",omitempty"`
}

func newInspect(g *globals) *cobra.Command {
	var format, platform string
	cmd := &cobra.Command{
		Use:     "inspect [OPTIONS] NAME [NAME...]",
		Short:   "Show what is known of containers and images",
		Example: "  builder inspect app:1.0\n  builder inspect -f '{{json .Config.Env}}' app:1.0",
		Args:    between(1, -1, "at least one container or image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			show, err := formatter(format)
			if err != nil {
				return err
			}
			var want image.Platform
			if platform != "" {
				if want, err = platformOr(platform); err != nil {
					return err
				}
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				found := []any{}
				var errs []error
				for _, arg := range args {
					i, err := m.inspectAny(ctx, arg, want)
					if err != nil {
						errs = append(errs, err)
						continue
					}
					found = append(found, i)
				}
				return errors.Join(errors.Join(errs...), show(g.out, found))
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "a Go template, or json")
	cmd.Flags().StringVar(&platform, "platform", "", "which image of a name for several platforms, such as linux/arm64")
	return cmd
}

// formatter returns how a list is shown: as JSON, or each by a template.
func formatter(format string) (func(io.Writer, []any) error, error) {
	if format == "" || format == "json" {
		return func(w io.Writer, list []any) error {
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "    ")
			return enc.Encode(list)
		}, nil
	}
	t, err := parseTemplate(format)
	if err != nil {
		return nil, err
	}
	return func(w io.Writer, list []any) error {
		for _, i := range list {
			if err := t.Execute(w, i); err != nil {
				return usage("--format: %v", err)
			}
			fmt.Fprintln(w)
		}
		return nil
	}, nil
}

// inspectAny takes a name for a container's first, as docker does.
func (m *machine) inspectAny(ctx context.Context, text string, want image.Platform) (any, error) {
	c, err := m.containers().Find(text)
	if err == nil && want.OS == "" {
		return inspectContainer(c), nil
	}
	if err != nil && !errors.As(err, new(*container.NotFoundError)) {
		return nil, err
	}
	return m.inspect(ctx, text, want)
}

// inspect collects what is known of an image.
func (m *machine) inspect(ctx context.Context, text string, want image.Platform) (inspected, error) {
	found, err := m.store.Find(ctx, text, want)
	if err != nil {
		return inspected{}, err
	}
	if want.OS != "" && !image.MatchPlatform(want, found.Platform) {
		return inspected{}, usage("%s is for %s, not for %s", text, image.FormatPlatform(found.Platform), image.FormatPlatform(want))
	}
	c, _, err := m.store.Config(ctx, found.ID)
	if err != nil {
		return inspected{}, err
	}
	names, err := m.store.Names()
	if err != nil {
		return inspected{}, err
	}
	i := inspected{
		Id: string(found.ID), RepoTags: []string{}, RepoDigests: []string{}, Author: c.Author, Config: c.Config,
		Architecture: c.Architecture, Variant: c.Variant, Os: c.OS, OsVersion: c.OSVersion, Size: m.sizes().image(found.Record),
		RootFS:   inspectedRoot{Type: c.RootFS.Type, Layers: c.RootFS.DiffIDs},
		Metadata: inspectedMetadata{Origin: string(found.Origin), Made: found.Made, Source: found.Source},
	}
	if c.Created != nil {
		i.Created = *c.Created
	}
	if n := len(c.History); n > 0 {
		i.Comment = c.History[n-1].Comment
	}
	i.addNames(names, found.ID)
	return i, nil
}

func (i *inspected) addNames(names []store.Name, id image.Digest) {
	for _, n := range names {
		if n.ID != id {
			continue
		}
		if n.Reference.Tag() != "" {
			i.RepoTags = append(i.RepoTags, n.Reference.Familiar())
		}
		if n.Manifest != "" {
			i.RepoDigests = append(i.RepoDigests, n.Reference.FamiliarName()+"@"+string(n.Manifest))
		}
	}
}
