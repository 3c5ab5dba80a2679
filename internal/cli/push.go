package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/registry"
	"builder/image/store"
	"builder/internal/progress"
)

// pushFlags are the flags of push as they were typed.
type pushFlags struct {
	quiet, all         bool
	progress           choice
	compression, types choice
	level              int
	platform           string
	want               image.Platform // platform, parsed
}

func newPush(g *globals) *cobra.Command {
	f := &pushFlags{
		progress:    choice{value: "auto", words: progressModes},
		compression: choice{value: "gzip", words: []string{"gzip", "zstd", "estargz", "uncompressed"}},
		types:       choice{value: "oci", words: []string{"oci", "docker"}},
	}
	cmd := &cobra.Command{
		Use:     "push [OPTIONS] NAME[:TAG] [NAME[:TAG]...]",
		Short:   "Send images to the registries of their names",
		Example: "  builder push registry.example.com/app:1.0\n  builder push --all-tags registry.example.com/app",
		Args:    between(1, -1, "at least one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := parseTags("", args)
			if err != nil {
				return err
			}
			for i, arg := range args {
				if f.all && !tagless(arg) {
					return usage("--all-tags: %q names one of them", arg).WithHint("write %s", refs[i].FamiliarName())
				}
			}
			if f.compression.value == "estargz" && f.types.value == "docker" {
				return usage("--compression=estargz needs OCI's media types").WithHint("leave --format=docker out")
			}
			if f.want, err = wanted(f.platform); err != nil {
				return err
			}
			if f.quiet {
				f.progress.value = "quiet"
			}
			return growing(g, cmd, func(ctx context.Context, m *machine) error {
				if f.all {
					if refs, err = m.allTags(refs); err != nil {
						return err
					}
				}
				for i, ref := range refs {
					if tagless(args[min(i, len(args)-1)]) && !f.all && !f.quiet {
						fmt.Fprintln(g.err, "Using default tag:", image.DefaultTag)
					}
					if err := m.pushNamed(ctx, ref, f); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.all, "all-tags", "a", false, "send all tags of the repository")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show nothing but the name")
	fl.StringVar(&f.platform, "platform", "", "send the image for this platform alone, of a name for several")
	fl.Var(&f.progress, "progress", "how to show progress")
	holdTrust(fl)
	fl.Var(&f.compression, "compression", "how layers made here are packed: gzip, zstd, estargz, uncompressed")
	fl.IntVar(&f.level, "compression-level", 0, "level of the compression (default the library's)")
	fl.Var(&f.types, "format", "media types of the manifest: oci or docker")
	g.tlsFlag(cmd)
	return cmd
}

// allTags returns the tags of repositories that are here.
func (m *machine) allTags(repositories []image.Reference) ([]image.Reference, error) {
	names, err := m.store.Names()
	if err != nil {
		return nil, err
	}
	var refs []image.Reference
	for _, r := range repositories {
		before := len(refs)
		for _, n := range names {
			if n.Reference.Name() == r.Name() && n.Reference.Tag() != "" && (len(refs) == 0 || refs[len(refs)-1] != n.Reference) {
				refs = append(refs, n.Reference)
			}
		}
		if len(refs) == before {
			return nil, usage("no image of %s is here", r.FamiliarName()).WithHint("builder images lists what is")
		}
	}
	return refs, nil
}

// pushNamed sends the image of a name and prints what the registry has then.
func (m *machine) pushNamed(ctx context.Context, ref image.Reference, f *pushFlags) error {
	packing := form{compression: f.compression.value, level: f.level, docker: f.types.value == "docker"}
	if f.want.OS == "" {
		if pushed, err := m.pushBuilt(ctx, ref, output{form: packing}, f); pushed || err != nil {
			return err
		}
	}
	found, ok, err := m.store.Lookup(ctx, ref, f.want)
	if err != nil {
		return err
	}
	if !ok {
		return usage("An image does not exist locally with the tag: %s", ref.FamiliarName()).WithHint("builder images lists what is here; %s is not", ref.Familiar())
	}
	if f.want.OS != "" {
		if err := checkPlatform(ref.Familiar(), f.want, found.Platform); err != nil {
			return err
		}
	}
	img, config, err := m.store.Load(ctx, found.Record)
	if err != nil {
		return err
	}
	if err := m.complete(ctx, found.Record, f.progress.value); err != nil {
		return err
	}
	if _, err := m.chain(ctx, img.Layers); err != nil {
		return err
	}
	view := newTransfers(f.progress.value, m.err)
	if t, ok := view.(*transfers); ok {
		t.say("The push refers to repository [%s]", ref.Name())
	}
	v := progress.Vertex{ID: "push " + ref.String(), Name: "push " + ref.Familiar()}
	view.Progress(progress.Started{Vertex: v, Time: time.Now()})
	desc, err := m.push(ctx, img, config, ref, output{form: packing}, v, view)
	view.Progress(progress.Finished{Vertex: v, Err: err, Time: time.Now()})
	if err = errors.Join(err, view.Close()); err != nil {
		return err
	}
	if err := m.notePushed(ctx, found, desc.Digest); err != nil {
		return err
	}
	return m.sayPushed(ref, desc, f)
}

// sayPushed prints what the registry has now; with -q, as docker does, its name.
func (m *machine) sayPushed(ref image.Reference, desc image.Descriptor, f *pushFlags) error {
	if f.quiet {
		_, err := fmt.Fprintln(m.out, ref)
		return err
	}
	_, err := fmt.Fprintf(m.out, "%s: digest: %s size: %d\n", ref.Tag(), desc.Digest, desc.Size)
	return err
}

// notePushed remembers by which digest the registry has an image, unless the
// name means another one meanwhile.
func (m *machine) notePushed(ctx context.Context, f store.Found, digest image.Digest) error {
	all, err := m.store.LookupAll(ctx, f.Name.Reference)
	if err != nil || len(all) > 1 {
		return err // the name is that of several: one alone does not take it
	}
	now, ok, err := m.store.Lookup(ctx, f.Name.Reference, f.Platform)
	if err != nil || !ok || now.ID != f.ID || now.Name.Manifest == digest {
		return err
	}
	name := f.Name
	name.Manifest = digest
	_, err = m.store.Tag(ctx, name)
	return err
}

// push packs an image and sends it.
func (m *machine) push(ctx context.Context, img image.Image, config []byte, ref image.Reference, o output, v progress.Vertex, sink progress.Sink) (image.Descriptor, error) {
	form := o.form.of()
	client, err := m.registryFor(o)
	if err != nil {
		return image.Descriptor{}, err
	}
	packed, err := m.store.Pack(ctx, img, config, form, m.depot)
	if err != nil {
		return image.Descriptor{}, err
	}
	known, err := m.knownBlobs(ref, img, packed.Packed)
	if err != nil {
		return image.Descriptor{}, err
	}
	if o.named.byDigest {
		if ref, err = ref.WithOnlyDigest(packed.Manifest.Digest); err != nil {
			return image.Descriptor{}, err
		}
	}
	desc, err := client.Push(ctx, ref, []image.Export{{Packed: packed.Packed, Blobs: packed}}, registry.PushOptions{Known: known, Types: form.Types, Vertex: v, Sink: sink})
	if err != nil {
		return desc, err
	}
	err = m.store.AddManifest(ctx, packed.Config.Digest, desc.Digest)
	if errors.Is(err, store.ErrNotFound) {
		return desc, nil // build --push sends what the store does not have
	}
	if err != nil {
		return desc, err
	}
	return desc, m.tagCanonical(ctx, store.Name{Reference: ref, ID: packed.Config.Digest, Platform: img.Config.Platform()}, desc.Digest, o)
}

// knownBlobs returns other repositories of a name's registry that may have the
// layers of an image: those that images with the same layers were pulled from or
// pushed to.
func (m *machine) knownBlobs(ref image.Reference, img image.Image, packed image.Packed) (map[image.Digest]string, error) {
	all, err := m.store.List()
	if err != nil {
		return nil, err
	}
	where := map[image.Digest]string{} // by diff ID
	for _, listed := range all {
		path, ok := elsewhere(listed, ref)
		if !ok {
			continue
		}
		for _, l := range listed.Layers {
			where[l.DiffID] = path
		}
	}
	known := map[image.Digest]string{}
	for i, l := range img.Layers {
		if path, ok := where[l.DiffID]; ok {
			known[packed.Layers[i].Digest] = path
		}
	}
	return known, nil
}

// elsewhere returns a repository beside that of ref, in the same registry, that
// is known to have an image.
func elsewhere(l store.Listed, ref image.Reference) (path string, ok bool) {
	refs := make([]image.Reference, 0, len(l.Names)+1)
	for _, n := range l.Names {
		if n.Manifest != "" {
			refs = append(refs, n.Reference)
		}
	}
	if source, err := image.ParseReference(l.Source); err == nil && strings.Contains(l.Source, "@") {
		refs = append(refs, source)
	}
	for _, r := range refs {
		if r.Domain() == ref.Domain() && r.Path() != ref.Path() {
			return r.Path(), true
		}
	}
	return "", false
}
