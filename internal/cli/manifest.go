package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/registry"
	"builder/image/store"
	"builder/internal/progress"
)

// newManifestGroup is "builder manifest": docker's way to an index, which is
// written down here, annotated and pushed.
func newManifestGroup(g *globals) *cobra.Command {
	return group("manifest", "Look at manifests, and make manifest lists", "  builder manifest inspect debian:bookworm",
		newManifestAnnotate(g), newManifestCreate(g), newManifestInspect(g), newManifestPush(g), newManifestRm(g))
}

// insecureFlag adds docker's name for --tls-verify=false.
func (g *globals) insecureFlag(cmd *cobra.Command) {
	g.tlsFlag(cmd)
	insecure := cmd.Flags().VarPF(&inverse{&g.tlsVerify}, "insecure", "", "talk to a registry that nobody vouches for")
	insecure.NoOptDefVal = "true"
}

// inverse is a flag that says the opposite of another.
type inverse struct{ of *bool }

func (i *inverse) String() string {
	if i.of == nil || *i.of {
		return "false"
	}
	return "true"
}
func (i *inverse) Type() string { return "bool" }

// Set implements pflag.Value.
func (i *inverse) Set(v string) error {
	switch v {
	case "true", "1":
		*i.of = false
	case "false", "0":
		*i.of = true
	default:
		return fmt.Errorf("%q is neither true nor false", v)
	}
	return nil
}

// listName reads the name of a manifest list.
func listName(text string) (image.Reference, error) {
	refs, err := parseTags("", []string{text})
	if err != nil {
		return image.Reference{}, err
	}
	return refs[0], nil
}

func newManifestCreate(g *globals) *cobra.Command {
	var amend bool
	cmd := &cobra.Command{
		Use:     "create [OPTIONS] MANIFEST_LIST MANIFEST [MANIFEST...]",
		Short:   "Write down a list of images of registries, to annotate and to push",
		Example: "  builder manifest create registry.example.com/app:1 registry.example.com/app:1-amd64 registry.example.com/app:1-arm64",
		Args:    between(2, -1, "the name of a list and at least one image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := listName(args[0])
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				if _, there, err := m.store.ManifestList(list); err != nil || there && !amend {
					return cmpOr(err, usage("refusing to amend an existing manifest list with no --amend flag"))
				}
				members, err := m.listMembers(ctx, args[1:])
				if err != nil {
					return err
				}
				err = m.store.ChangeManifestList(ctx, list, func(old *store.ManifestList) (*store.ManifestList, error) {
					l := &store.ManifestList{}
					if old != nil {
						l = old
					}
					for _, member := range members {
						if i := indexOfMember(l.Members, member.Reference); i >= 0 {
							l.Members[i] = member
							continue
						}
						l.Members = append(l.Members, member)
					}
					return l, nil
				})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(g.out, "Created manifest list", list)
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&amend, "amend", "a", false, "add to a list that is there")
	g.insecureFlag(cmd)
	return cmd
}

// cmpOr is the first error unless it is nil.
func cmpOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func indexOfMember(members []store.ListMember, reference string) int {
	return slices.IndexFunc(members, func(m store.ListMember) bool { return m.Reference == reference })
}

// listMembers looks at images in registries.
func (m *machine) listMembers(ctx context.Context, names []string) ([]store.ListMember, error) {
	client, err := m.registry()
	if err != nil {
		return nil, err
	}
	var members []store.ListMember
	for _, name := range names {
		ref, err := image.ParseReference(name)
		if err != nil {
			return nil, usage("%v", err)
		}
		found, err := client.Look(ctx, ref)
		if errors.Is(err, registry.ErrNotFound) {
			return nil, fmt.Errorf("no such manifest: %s: %w", ref.Familiar(), err)
		}
		if err != nil {
			return nil, err
		}
		if image.IsIndex(found.MediaType) {
			return nil, usage("%s is an index of images, and a manifest list is of images", ref.Familiar()).
				WithHint("builder imagetools create -t NAME SOURCE... joins indexes")
		}
		members = append(members, store.ListMember{Reference: ref.String(), Descriptor: found.Manifests[0]})
	}
	return members, nil
}

// annotateFlags are the flags of manifest annotate as they were typed.
type annotateFlags struct {
	os, arch, variant, osVersion string
	features                     []string
}

func newManifestAnnotate(g *globals) *cobra.Command {
	f := &annotateFlags{}
	cmd := &cobra.Command{
		Use:     "annotate [OPTIONS] MANIFEST_LIST MANIFEST",
		Short:   "Say what platform an image of a list is for",
		Example: "  builder manifest annotate --arch arm --variant v7 registry.example.com/app:1 registry.example.com/app:1-armv7",
		Args:    exactly(2, "the name of a list and an image of it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := listName(args[0])
			if err != nil {
				return err
			}
			ref, err := image.ParseReference(args[1])
			if err != nil {
				return usage("%v", err)
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				return m.store.ChangeManifestList(ctx, list, func(l *store.ManifestList) (*store.ManifestList, error) {
					if l == nil {
						return nil, noList(list)
					}
					i := indexOfMember(l.Members, ref.String())
					if i < 0 {
						return nil, usage("manifest for image %s does not exist in %s", args[1], args[0])
					}
					return l, f.apply(&l.Members[i].Descriptor)
				})
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.os, "os", "", "operating system, such as linux")
	fl.StringVar(&f.arch, "arch", "", "architecture, such as arm64")
	fl.StringVar(&f.variant, "variant", "", "variant of the architecture, such as v7")
	fl.StringVar(&f.osVersion, "os-version", "", "version of the operating system")
	fl.StringSliceVar(&f.features, "os-features", nil, "features of the operating system that it needs (repeatable)")
	return cmd
}

// noList is worded as docker's.
func noList(ref image.Reference) error {
	return usage("No such manifest: %s", ref).WithHint("builder manifest create makes a list")
}

// apply changes a platform. What makes no platform is refused.
func (f *annotateFlags) apply(d *image.Descriptor) error {
	p := image.Platform{}
	if d.Platform != nil {
		p = *d.Platform
	}
	for _, part := range []struct {
		to    *string
		value string
	}{{&p.OS, f.os}, {&p.Architecture, f.arch}, {&p.Variant, f.variant}, {&p.OSVersion, f.osVersion}} {
		if part.value != "" {
			*part.to = part.value
		}
	}
	for _, feature := range f.features {
		if !slices.Contains(p.OSFeatures, feature) {
			p.OSFeatures = append(p.OSFeatures, feature)
		}
	}
	if _, err := image.ParsePlatform(strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")); err != nil {
		return usage("manifest entry for image has unsupported os/arch combination: %s/%s: %v", p.OS, p.Architecture, err)
	}
	d.Platform = &p
	return nil
}

func newManifestInspect(g *globals) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:     "inspect [OPTIONS] [MANIFEST_LIST] MANIFEST",
		Short:   "Show a manifest list of this machine, or what a registry has under a name",
		Example: "  builder manifest inspect debian:bookworm",
		Args:    between(1, 2, "an image, or a list and an image of it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := image.ParseReference(args[0])
			if err != nil {
				return usage("%v", err)
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				l, local, err := m.store.ManifestList(list)
				if err != nil {
					return err
				}
				if len(args) == 1 {
					if local {
						return m.printList(ctx, l, verbose)
					}
					return m.printRemote(ctx, list, verbose)
				}
				ref, err := image.ParseReference(args[1])
				if err != nil {
					return usage("%v", err)
				}
				i := indexOfMember(l.Members, ref.String())
				if i < 0 {
					return usage("No such manifest: %s in %s", ref.Familiar(), list.Familiar())
				}
				found, err := m.lookMember(ctx, l.Members[i])
				if err != nil {
					return err
				}
				if verbose {
					return m.printJSON(verboseMember(l.Members[i].Reference, l.Members[i].Descriptor, found.Bytes))
				}
				return m.printBytes(found.Bytes)
			})
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show descriptors and platforms beside the manifests")
	g.insecureFlag(cmd)
	return cmd
}

// shownMember is what -v shows of a manifest, by docker's names.
type shownMember struct {
	Ref              string
	Descriptor       image.Descriptor
	Raw              []byte
	SchemaV2Manifest json.RawMessage `json:",omitempty"`
	OCIManifest      json.RawMessage `json:",omitempty"`
}

func verboseMember(ref string, d image.Descriptor, data []byte) shownMember {
	s := shownMember{Ref: ref, Descriptor: d, Raw: data}
	if d.MediaType == image.Docker.Manifest() {
		s.SchemaV2Manifest = data
	} else {
		s.OCIManifest = data
	}
	return s
}

// lookMember finds an image of a list again.
func (m *machine) lookMember(ctx context.Context, member store.ListMember) (*registry.Found, error) {
	ref, err := image.ParseReference(member.Reference)
	if err != nil {
		return nil, err
	}
	return m.lookDigest(ctx, ref, member.Descriptor.Digest)
}

func (m *machine) lookDigest(ctx context.Context, ref image.Reference, d image.Digest) (*registry.Found, error) {
	pinned, err := ref.WithOnlyDigest(d)
	if err != nil {
		return nil, err
	}
	client, err := m.registry()
	if err != nil {
		return nil, err
	}
	return client.Look(ctx, pinned)
}

// printList shows a list of this machine.
func (m *machine) printList(ctx context.Context, l store.ManifestList, verbose bool) error {
	if !verbose {
		_, data, err := packList(l)
		if err != nil {
			return err
		}
		return m.printBytes(data)
	}
	all := []shownMember{}
	for _, member := range l.Members {
		found, err := m.lookMember(ctx, member)
		if err != nil {
			return err
		}
		all = append(all, verboseMember(member.Reference, member.Descriptor, found.Bytes))
	}
	return m.printJSON(all)
}

// printRemote shows what a registry has.
func (m *machine) printRemote(ctx context.Context, ref image.Reference, verbose bool) error {
	client, err := m.registry()
	if err != nil {
		return err
	}
	found, err := client.Look(ctx, ref)
	if err != nil {
		return err
	}
	if !verbose {
		return m.printBytes(found.Bytes)
	}
	if !image.IsIndex(found.MediaType) {
		return m.printJSON(verboseMember(ref.String(), found.Manifests[0], found.Bytes))
	}
	all := []shownMember{}
	for _, d := range found.Manifests {
		member, err := m.lookDigest(ctx, ref, d.Digest)
		if err != nil {
			return err
		}
		pinned, err := ref.WithOnlyDigest(d.Digest)
		if err != nil {
			return err
		}
		all = append(all, verboseMember(pinned.String(), d, member.Bytes))
	}
	return m.printJSON(all)
}

// printBytes shows JSON as docker does: it may be written in any way.
func (m *machine) printBytes(data []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(data), "", "\t"); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(m.out)
	return err
}

func (m *machine) printJSON(v any) error {
	enc := json.NewEncoder(m.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	return enc.Encode(v)
}

// packList makes the index that a list stands for: of docker's media types if all
// of its images are.
func packList(l store.ManifestList) (mediaType string, data []byte, err error) {
	types := image.Docker
	packed := make([]image.Packed, len(l.Members))
	for i, member := range l.Members {
		if member.Descriptor.MediaType != image.Docker.Manifest() {
			types = image.OCI
		}
		packed[i].Manifest = member.Descriptor
	}
	d, data, err := image.PackIndex(types, packed, nil)
	return d.MediaType, data, err
}

func newManifestPush(g *globals) *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:     "push [OPTIONS] MANIFEST_LIST",
		Short:   "Send a manifest list to the registry of its name, and forget it with --purge",
		Example: "  builder manifest push --purge registry.example.com/app:1",
		Args:    exactly(1, "the name of a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := listName(args[0])
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				l, ok, err := m.store.ManifestList(list)
				if err != nil {
					return err
				}
				if !ok || len(l.Members) == 0 {
					return usage("%s not found", list).WithHint("builder manifest create makes a list")
				}
				digest, err := m.pushList(ctx, list, l)
				if err != nil {
					return err
				}
				if purge {
					if err := m.removeList(ctx, list); err != nil {
						return err
					}
				}
				_, err = fmt.Fprintln(g.out, digest)
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&purge, "purge", "p", false, "forget the list when it is there")
	g.insecureFlag(cmd)
	return cmd
}

// pushList brings the images of a list to its repository, and then the list.
func (m *machine) pushList(ctx context.Context, to image.Reference, l store.ManifestList) (image.Digest, error) {
	client, err := m.registry()
	if err != nil {
		return "", err
	}
	mediaType, data, err := packList(l)
	if err != nil {
		return "", err
	}
	view := newTransfers("auto", m.err)
	v := progress.Vertex{ID: "push " + to.String(), Name: "push " + to.Familiar()}
	for _, member := range l.Members {
		var found *registry.Found
		if found, err = m.lookMember(ctx, member); err == nil {
			err = client.Copy(ctx, found, []image.Descriptor{member.Descriptor}, to, registry.PushOptions{Vertex: v, Sink: view})
		}
		if err != nil {
			return "", errors.Join(err, view.Close())
		}
	}
	d, err := client.PushIndex(ctx, to, mediaType, data)
	return d.Digest, errors.Join(err, view.Close())
}

func newManifestRm(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "rm MANIFEST_LIST [MANIFEST_LIST...]",
		Short:   "Forget manifest lists of this machine",
		Example: "  builder manifest rm registry.example.com/app:1",
		Args:    between(1, -1, "at least one list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				var errs []error
				for _, arg := range args {
					list, err := listName(arg)
					if err == nil {
						err = m.removeList(ctx, list)
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		},
	}
}

func (m *machine) removeList(ctx context.Context, list image.Reference) error {
	return m.store.ChangeManifestList(ctx, list, func(l *store.ManifestList) (*store.ManifestList, error) {
		if l == nil {
			return nil, noList(list)
		}
		return nil, nil //nolint:nilnil // no list is what is wanted
	})
}
