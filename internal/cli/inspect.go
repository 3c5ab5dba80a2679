package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/store"
	"builder/internal/container"
)

// inspected is an image under docker's field names.
type inspected struct {
	Id            string //nolint:revive,staticcheck // docker's name, which templates use
	RepoTags      []string
	RepoDigests   []string
	Parent        string
	Comment       string
	Created       time.Time
	DockerVersion string // none: for templates that ask
	Author        string
	Config        image.RunConfig
	Architecture  string
	Variant       string `json:",omitempty"`
	Os            string
	OsVersion     string `json:",omitempty"`
	Size          int64
	GraphDriver   inspectedDriver
	RootFS        inspectedRoot
	Metadata      inspectedMetadata
}

// inspectedDriver says how trees of files are kept.
type inspectedDriver struct {
	Data map[string]string
	Name string
}

type inspectedRoot struct {
	Type   string
	Layers []image.Digest
}

// inspectedMetadata is local knowledge: no part of the image.
type inspectedMetadata struct {
	LastTagTime time.Time // docker's zero: it is not noted
	Origin      string
	Made        time.Time
	Source      string `json:",omitempty"`
}

// inspectFlags are the flags of inspect as they were typed.
type inspectFlags struct {
	format, platform string
	kind             choice
	size             bool
}

// The kinds of things that inspect --type takes.
const (
	kindContainer = "container"
	kindImage     = "image"
	kindVolume    = "volume"
)

// noObjectError says that nothing is called Name.
type noObjectError struct{ name string }

// Error is docker's line, word for word: scripts look for it.
func (e *noObjectError) Error() string { return "Error: No such object: " + e.name }

func newInspect(g *globals) *cobra.Command {
	f := &inspectFlags{kind: choice{words: []string{kindContainer, kindImage, kindVolume}}}
	cmd := &cobra.Command{
		Use:     "inspect [OPTIONS] NAME [NAME...]",
		Short:   "Show what is known of containers, images and volumes",
		Example: "  builder inspect --type image -f '{{json .Config.Env}}' app:1.0",
		Args:    between(1, -1, "at least one container, image or volume"),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(g, cmd, args) },
	}
	formatFlag(cmd, &f.format)
	cmd.Flags().StringVar(&f.platform, "platform", "", "which image of a name for several platforms, such as linux/arm64")
	cmd.Flags().BoolVarP(&f.size, "size", "s", false, "show how much the files of containers take, too")
	cmd.Flags().Var(&f.kind, "type", "look for one kind only: "+strings.Join(f.kind.words, ", "))
	return cmd
}

// newImageInspect is "builder image inspect".
func newImageInspect(g *globals) *cobra.Command {
	f := &inspectFlags{kind: choice{value: kindImage}}
	cmd := &cobra.Command{
		Use:     "inspect [OPTIONS] IMAGE [IMAGE...]",
		Short:   "Show what is known of images",
		Example: "  builder image inspect -f '{{.Size}}' app:1.0",
		Args:    between(1, -1, "at least one image"),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(g, cmd, args) },
	}
	formatFlag(cmd, &f.format)
	cmd.Flags().StringVar(&f.platform, "platform", "", "which image of a name for several platforms, such as linux/arm64")
	return cmd
}

func formatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "format", "f", "", "a Go template, or json")
}

func (f *inspectFlags) run(g *globals, cmd *cobra.Command, args []string) error {
	want, err := wanted(f.platform)
	if err != nil {
		return err
	}
	if want.OS != "" {
		if f.kind.value == "" {
			f.kind.value = kindImage // nothing else has a platform
		}
		if f.kind.value != kindImage {
			return usage("--platform: a %s has none", f.kind.value)
		}
	}
	return g.inspectEach(cmd, args, f.format, func(ctx context.Context, m *machine, name string) (any, error) {
		return m.inspectAny(ctx, name, want, f)
	})
}

// inspectEach shows what look finds of each name. What is not found does not keep
// the others from being shown, and is told after them.
func (g *globals) inspectEach(cmd *cobra.Command, names []string, format string, look func(ctx context.Context, m *machine, name string) (any, error)) error {
	show, err := formatter(format)
	if err != nil {
		return err
	}
	return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
		found := []any{}
		var errs []error
		for _, name := range names {
			i, err := look(ctx, m, name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			found = append(found, i)
		}
		return errors.Join(show(g.out, found), errors.Join(errs...))
	})
}

// formatter returns how a list is shown: as JSON, for people or in one line, or
// each by a template.
func formatter(format string) (func(io.Writer, []any) error, error) {
	if format == "" || format == "json" {
		return func(w io.Writer, list []any) error {
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			if format == "" {
				enc.SetIndent("", "    ")
			}
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

// inspectAny takes a name for a container's first, then for an image's, then for
// a volume's, as docker does.
func (m *machine) inspectAny(ctx context.Context, text string, want image.Platform, f *inspectFlags) (any, error) {
	only := f.kind.value
	if only == "" || only == kindContainer {
		c, err := m.containers().Find(text)
		if err == nil {
			return m.inspectContainer(ctx, c, f.size)
		}
		if only != "" || !errors.As(err, new(*container.NotFoundError)) {
			return nil, err
		}
	}
	if only == "" || only == kindImage {
		i, err := m.inspect(ctx, text, want)
		if err == nil {
			f.unsized(m, kindImage)
			return i, nil
		}
		// What is no name of an image may be one of a volume.
		if _, wrong := image.ParseReference(text); only != "" || !errors.Is(err, store.ErrNotFound) && wrong == nil {
			return nil, err
		}
	}
	v, err := m.containers().FindVolume(text)
	switch {
	case err == nil:
		f.unsized(m, kindVolume)
		return inspectVolume(v), nil
	case only == "" && errors.As(err, new(*container.NoVolumeError)):
		return nil, &noObjectError{text}
	}
	return nil, err
}

// unsized says that --size is of containers only.
func (f *inspectFlags) unsized(m *machine, kind string) {
	if f.size {
		fmt.Fprintln(m.err, "WARNING: --size ignored for", kind)
	}
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
	if i.GraphDriver.Name, err = m.snapshotKind(); err != nil {
		return inspected{}, err
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
