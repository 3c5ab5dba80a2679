package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/registry"
	"builder/internal/progress"
)

// newImagetoolsGroup is "builder imagetools": what is done to images where they
// lie in registries.
func newImagetoolsGroup(g *globals) *cobra.Command {
	return group("imagetools", "Look at images in registries and join them to indexes", "  builder imagetools inspect debian:bookworm",
		newImagetoolsInspect(g), newImagetoolsCreate(g))
}

// newImagetoolsInspect shows what a registry has under a name: for people, the
// bytes as they are, or by a template.
func newImagetoolsInspect(g *globals) *cobra.Command {
	var format string
	var raw bool
	cmd := &cobra.Command{
		Use:     "inspect [OPTIONS] NAME",
		Short:   "Show what a registry has under a name",
		Example: "  builder imagetools inspect --format '{{.Manifest.Digest}}' debian:bookworm",
		Args:    exactly(1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := image.ParseReference(args[0])
			if err != nil {
				return usage("%v", err)
			}
			if raw && format != "" {
				return usage("--raw and --format do not go together")
			}
			show, err := structPrinter(format, func(w io.Writer, i inspectedManifest) error { return printManifest(w, ref, i.found) })
			if err != nil {
				return err
			}
			client, err := g.registry()
			if err != nil {
				return err
			}
			found, err := client.Look(cmd.Context(), ref)
			if err != nil {
				return err
			}
			if raw {
				// Nothing is added: people pipe it into sha256sum.
				_, err := g.out.Write(found.Bytes)
				return err
			}
			return show(g.out, inspectManifest(cmd.Context(), client, ref, found))
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "show the bytes of the manifest or index")
	cmd.Flags().StringVar(&format, "format", "", "json, or a Go template over .Name, .Manifest, .Image, .SBOM and .Provenance")
	g.tlsFlag(cmd)
	return cmd
}

// inspectedManifest is what templates see, by the names of buildx. Configs are
// fetched when somebody asks for them.
type inspectedManifest struct {
	Name     string
	Manifest shownManifest

	found *registry.Found
	image func() (any, error)
	// attested are the predicates of attestations whose type begins so, under a name.
	attested func(name, kind string) (any, error)
}

type shownManifest struct {
	SchemaVersion int `json:"schemaVersion"`
	image.Descriptor
	Manifests []image.Descriptor `json:"manifests,omitempty"`
}

// Image is the config, or those of an index by their platforms.
func (i inspectedManifest) Image() (any, error) { return i.image() }

// SBOM is what attestations say an image holds: {"SPDX": …}, or that by platform.
func (i inspectedManifest) SBOM() (any, error) {
	return i.attested("SPDX", "https://spdx.dev/Document")
}

// Provenance is what attestations say of how an image was made: {"SLSA": …}, or
// that by platform.
func (i inspectedManifest) Provenance() (any, error) {
	return i.attested("SLSA", "https://slsa.dev/provenance/")
}

// MarshalJSON is for "{{json .}}".
func (i inspectedManifest) MarshalJSON() ([]byte, error) {
	configs, err := i.image()
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"name": i.Name, "manifest": i.Manifest, "image": configs})
}

func inspectManifest(ctx context.Context, client *registry.Client, ref image.Reference, f *registry.Found) inspectedManifest {
	i := inspectedManifest{Name: ref.String(), Manifest: shownManifest{SchemaVersion: 2, Descriptor: f.Descriptor}, found: f}
	config := func(d image.Descriptor) (image.Config, error) {
		pinned, err := ref.WithOnlyDigest(d.Digest)
		if err != nil {
			return image.Config{}, err
		}
		r, err := client.Resolve(ctx, pinned, image.Platform{})
		if err != nil {
			return image.Config{}, err
		}
		return image.ParseConfig(r.ConfigBytes)
	}
	if !image.IsIndex(f.MediaType) {
		i.image = func() (any, error) { return config(f.Descriptor) }
		i.attested = func(string, string) (any, error) { return nil, nil }
		return i
	}
	i.attested = func(name, kind string) (any, error) { return attestations(ctx, f, name, kind) }
	i.Manifest.Manifests = f.Manifests
	i.image = func() (any, error) {
		if images := image.Runnable(f.Manifests); len(images) == 1 {
			return config(images[0])
		}
		all := map[string]image.Config{}
		for _, d := range image.Runnable(f.Manifests) {
			c, err := config(d)
			if err != nil {
				return nil, err
			}
			all[image.FormatPlatform(c.Platform())] = c
		}
		return all, nil
	}
	return i
}

func printManifest(w io.Writer, ref image.Reference, f *registry.Found) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Name:      %s\nMediaType: %s\nDigest:    %s\n", ref, f.MediaType, f.Digest)
	if image.IsIndex(f.MediaType) {
		b.WriteString("\nManifests:\n")
	}
	for _, d := range f.Manifests {
		if !image.IsIndex(f.MediaType) {
			fmt.Fprintf(&b, "Platform:  %s\n", image.FormatPlatform(*d.Platform))
			break
		}
		pinned, err := ref.WithOnlyDigest(d.Digest)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "  Name:        %s\n  MediaType:   %s\n", pinned, d.MediaType)
		if d.Platform != nil {
			fmt.Fprintf(&b, "  Platform:    %s\n", image.FormatPlatform(*d.Platform))
		}
		for i, name := range slices.Sorted(maps.Keys(d.Annotations)) {
			if i == 0 {
				b.WriteString("  Annotations:\n")
			}
			fmt.Fprintf(&b, "    %s: %s\n", harmless(name), harmless(d.Annotations[name]))
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// createFlags are the flags of imagetools create as they were typed.
type createIndexFlags struct {
	tags, annotations, platforms, files []string
	extend, dry, preferIndex            bool
	metadata                            string
	progress                            choice
}

func newImagetoolsCreate(g *globals) *cobra.Command {
	f := &createIndexFlags{progress: choice{value: "auto", words: progressModes}}
	cmd := &cobra.Command{
		Use:     "create [OPTIONS] [SOURCE...]",
		Short:   "Make an index of images that are in registries",
		Example: "  builder imagetools create -t registry.example.com/app:1 registry.example.com/app:1-amd64 registry.example.com/app:1-arm64",
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.createIndex(cmd.Context(), f, args)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.tags, "tag", "t", nil, "name that the index gets (repeatable)")
	fl.BoolVar(&f.extend, "append", false, "keep what the first name has already")
	fl.StringArrayVar(&f.annotations, "annotation", nil, "annotation, as NAME=VALUE or index:NAME=VALUE for the index, manifest-descriptor[PLATFORM]:NAME=VALUE for what it lists")
	fl.StringSliceVarP(&f.platforms, "platform", "p", nil, "take the images for these platforms only")
	fl.StringArrayVarP(&f.files, "file", "f", nil, "take a source from a file: a name, a digest, or a descriptor as JSON (repeatable)")
	fl.BoolVar(&f.preferIndex, "prefer-index", true, "make an index of one image, too; false copies it as it is")
	fl.StringVar(&f.metadata, "metadata-file", "", "write the digest of the result to this file, as JSON")
	fl.BoolVar(&f.dry, "dry-run", false, "show the index, and change nothing")
	fl.Var(&f.progress, "progress", "how to show progress")
	g.tlsFlag(cmd)
	return cmd
}

func (g *globals) createIndex(ctx context.Context, f *createIndexFlags, args []string) error {
	tags, err := parseTags("-t", f.tags)
	if err != nil {
		return err
	}
	if len(tags) == 0 && (!f.dry || f.extend) {
		return usage("nothing says what the index is called").WithHint("add -t registry.example.com/name:tag")
	}
	annotations, err := f.indexAnnotations()
	if err != nil {
		return err
	}
	client, err := g.registry()
	if err != nil {
		return err
	}
	sources, err := f.sources(ctx, client, tags, args)
	if err != nil {
		return err
	}
	mediaType, data, err := f.result(sources, annotations)
	if err != nil {
		return err
	}
	if f.dry {
		_, err := g.out.Write(append(data, '\n'))
		return err
	}
	var pushed image.Descriptor
	view := newTransfers(f.progress.value, g.err)
	v := progress.Vertex{ID: "create", Name: "create index"}
	for _, tag := range tags {
		for _, s := range sources {
			err = errors.Join(err, client.Copy(ctx, s.Found, s.take, tag, registry.PushOptions{Vertex: v, Sink: view}))
		}
		if err == nil {
			pushed, err = client.PushIndex(ctx, tag, mediaType, data)
		}
		if err != nil {
			break
		}
	}
	if err = errors.Join(err, view.Close()); err != nil {
		return err
	}
	var names []string
	for _, tag := range tags {
		names = append(names, tag.String())
		fmt.Fprintln(g.out, tag.String())
	}
	if f.metadata == "" {
		return nil
	}
	if err := writeMetadata(f.metadata, "", "", names, []delivered{{manifest: &pushed}}); err != nil {
		return fmt.Errorf("--metadata-file: %w", err)
	}
	return nil
}

// result is what the name gets: an index, or the one source as it is where nothing
// has to be said in an index.
func (f *createIndexFlags) result(sources []indexSource, annotations []annotation) (mediaType string, data []byte, err error) {
	if len(sources) == 1 && len(annotations) == 0 && len(f.platforms) == 0 && !f.extend && !sources[0].given.said() {
		s := sources[0]
		if image.IsIndex(s.MediaType) || !f.preferIndex {
			return s.MediaType, s.Bytes, nil
		}
	}
	return f.index(sources, annotations)
}

// indexSource is an image or an index, and what is taken of it.
type indexSource struct {
	*registry.Found
	take  []image.Descriptor
	given givenSource
}

// sources reads what the index is made of.
func (f *createIndexFlags) sources(ctx context.Context, client *registry.Client, tags []image.Reference, args []string) ([]indexSource, error) {
	given, err := f.given(tags, args)
	if err != nil {
		return nil, err
	}
	var sources []indexSource
	for i, from := range given {
		found, err := client.Look(ctx, from.ref)
		if f.extend && i == 0 && errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		take, err := f.taken(from.describe(found.Manifests, found.Descriptor), f.extend && i == 0)
		if err != nil {
			return nil, err
		}
		sources = append(sources, indexSource{found, take, from})
	}
	return sources, nil
}

// taken are the manifests for the platforms that were asked for, and what attests
// to them.
func (f *createIndexFlags) taken(manifests []image.Descriptor, all bool) ([]image.Descriptor, error) {
	if len(f.platforms) == 0 || all {
		return manifests, nil
	}
	var take []image.Descriptor
	for _, text := range f.platforms {
		want, err := image.ParsePlatform(text)
		if err != nil {
			return nil, usage("--platform: %v", err)
		}
		for _, d := range manifests {
			if d.Platform != nil && image.FormatPlatform(*d.Platform) == image.FormatPlatform(want) {
				take = append(take, d)
			}
		}
	}
	for _, d := range manifests {
		attests := func(t image.Descriptor) bool { return string(t.Digest) == d.Annotations[attestationSubject] }
		if d.Annotations[attestationType] == attestationKind && slices.ContainsFunc(take, attests) {
			take = append(take, d)
		}
	}
	return take, nil
}

// index makes the index. Of two images for one platform the later one stays.
func (f *createIndexFlags) index(sources []indexSource, annotations []annotation) (mediaType string, data []byte, err error) {
	types := image.Docker
	var packed []image.Packed
	at := map[string]int{}
	for _, s := range sources {
		for _, d := range s.take {
			if d.MediaType != image.Docker.Manifest() {
				types = image.OCI
			}
			key := string(d.Digest)
			if d.Platform != nil && d.Platform.OS != "unknown" {
				key = image.FormatPlatform(*d.Platform)
			}
			if i, ok := at[key]; ok {
				packed[i].Manifest = d
				continue
			}
			at[key] = len(packed)
			packed = append(packed, image.Packed{Manifest: d})
		}
	}
	if len(packed) == 0 {
		return "", nil, usage("none of the images is for %s", strings.Join(f.platforms, ", "))
	}
	if len(annotations) > 0 {
		types = image.OCI
	}
	if err := annotate(packed, annotations); err != nil {
		return "", nil, err
	}
	d, data, err := image.PackIndex(types, packed, annotated(annotations, "index", image.Platform{}))
	return d.MediaType, data, err
}

// indexAnnotations reads --annotation: of the index, where nothing else is said,
// or of what it says about its images. The images are others' and stay as they are.
func (f *createIndexFlags) indexAnnotations() ([]annotation, error) {
	texts := slices.Clone(f.annotations)
	for i, text := range texts {
		name, _, _ := strings.Cut(text, "=")
		if annotationPrefix.FindString(name) == "" {
			texts[i] = "index:" + text
		}
	}
	list, err := parseAnnotations(texts)
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		if a.kind != "index" && a.kind != "manifest-descriptor" {
			return nil, usage("--annotation: %s:%s is not for an index, and an index is made here", a.kind, a.key).
				WithHint("write index:NAME=VALUE or manifest-descriptor[PLATFORM]:NAME=VALUE")
		}
	}
	return list, nil
}

// annotate adds to the manifests of an index what is said of them.
func annotate(packed []image.Packed, all []annotation) error {
	for _, a := range all {
		found := a.kind == "index"
		for i, p := range packed {
			d := p.Manifest
			if a.kind == "index" || d.Platform == nil && a.platform != "" || d.Platform != nil && a.platform != "" && image.FormatPlatform(*d.Platform) != a.platform {
				continue
			}
			found = true
			d.Annotations = maps.Clone(d.Annotations)
			if d.Annotations == nil {
				d.Annotations = map[string]string{}
			}
			d.Annotations[a.key] = a.value
			packed[i].Manifest = d
		}
		if !found {
			return usage("--annotation: none of the images is for %s", a.platform)
		}
	}
	return nil
}
