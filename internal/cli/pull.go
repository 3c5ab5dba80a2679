package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/store"
	"builder/internal/progress"
	"builder/internal/pull"
)

// pullFlags are the flags of pull as they were typed.
type pullFlags struct {
	platform   string
	quiet, all bool
	progress   choice
}

func newPull(g *globals) *cobra.Command {
	f := &pullFlags{progress: choice{value: "auto", words: progressModes}}
	cmd := &cobra.Command{
		Use:     "pull [OPTIONS] NAME[:TAG|@DIGEST]",
		Short:   "Bring an image from a registry",
		Example: "  builder pull debian:bookworm-slim\n  builder pull registry.example.com:5000/team/app:1.0",
		Args:    exactly(1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := image.ParseReference(args[0])
			if err != nil {
				return usage("%v", err)
			}
			if f.all && !tagless(args[0]) {
				return usage("--all-tags: %q names one of them", args[0]).WithHint("write %s", ref.FamiliarName())
			}
			want, err := platformOr(f.platform)
			if err != nil {
				return err
			}
			if f.quiet {
				f.progress.value = "quiet"
			}
			if tagless(args[0]) && !f.all && !f.quiet {
				fmt.Fprintln(g.err, "Using default tag:", image.DefaultTag)
			}
			return growing(g, cmd, func(ctx context.Context, m *machine) error {
				return m.pullNamed(ctx, ref, want, f)
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.all, "all-tags", "a", false, "bring all tags of the repository")
	fl.StringVar(&f.platform, "platform", "", "platform of the image (default this machine's)")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show nothing but the name")
	fl.Var(&f.progress, "progress", "how to show progress")
	holdTrust(fl)
	g.tlsFlag(cmd)
	return cmd
}

// pullNamed brings one image, or all of a repository.
func (m *machine) pullNamed(ctx context.Context, ref image.Reference, want image.Platform, f *pullFlags) error {
	refs := []image.Reference{ref}
	if f.all {
		client, err := m.registry()
		if err != nil {
			return err
		}
		tags, err := client.Tags(ctx, ref)
		if err != nil {
			return fmt.Errorf("pull %s: %w", ref.FamiliarName(), err)
		}
		refs = refs[:0]
		for _, tag := range tags {
			tagged, err := ref.WithTag(tag)
			if err != nil {
				return fmt.Errorf("pull %s: %w", ref.FamiliarName(), err)
			}
			refs = append(refs, tagged)
		}
	}
	for _, ref := range refs {
		if err := m.pull(ctx, ref, want, f); err != nil {
			return err
		}
	}
	name := ref.String()
	if f.all {
		name = ref.Name()
	}
	_, err := fmt.Fprintln(m.out, name)
	return err
}

// pull brings an image whole and says, as docker does, whether it is new.
func (m *machine) pull(ctx context.Context, ref image.Reference, want image.Platform, f *pullFlags) error {
	mode := f.progress.value
	before, _, err := m.store.Lookup(ctx, ref, want)
	if err != nil {
		return err
	}
	client, err := m.registry()
	if err != nil {
		return err
	}
	view := newTransfers(mode, m.err)
	if t, ok := view.(*transfers); ok {
		what := ref.Tag()
		if ref.Digest() != "" {
			what = string(ref.Digest())
		}
		t.say("%s: Pulling from %s", what, ref.Path())
	}
	img, err := m.bring(ctx, pull.New(m.store, client, pull.Always, view), ref, want, f.platform != "")
	if err = errors.Join(err, view.Close()); err != nil || mode == "quiet" {
		return err
	}
	status := "Downloaded newer image for"
	if before.ID == img.Record.ID {
		status = "Image is up to date for"
	}
	_, err = fmt.Fprintf(m.out, "Digest: %s\nStatus: %s %s\n", img.Digest, status, ref.Familiar())
	return err
}

// bring resolves a name, fetches its layers, and unpacks those that
// come. The name means what it meant before until all are here. With exact, an image
// that stands alone and is for another platform is refused, as docker does where the
// platform was asked for.
func (m *machine) bring(ctx context.Context, p *pull.Puller, ref image.Reference, want image.Platform, exact bool) (pull.Image, error) {
	img, err := p.Look(ctx, ref, want, metadataVertex(ref))
	if err == nil && exact {
		err = checkPlatform(ref.Familiar(), want, img.Record.Platform)
	}
	if err != nil {
		return img, fmt.Errorf("pull %s: %w", ref.Familiar(), err)
	}
	v := progress.Vertex{ID: "pull " + ref.String(), Name: "pull " + ref.Familiar()}
	m.tellPresent(p, img.Record, v)
	if _, err = p.Tree(ctx, img.Digest, want, m.depot, v); err != nil {
		return img, fmt.Errorf("pull %s: %w", ref.Familiar(), err)
	}
	img.Record.Layers = m.sized(img.Record.Layers)
	return p.Keep(ctx, img)
}

// checkPlatform returns an error where the image called name is not for a platform.
func checkPlatform(name string, want, have image.Platform) error {
	if image.MatchPlatform(want, have) {
		return nil
	}
	return fmt.Errorf("image with reference %s was found but its platform (%s) does not match the specified platform (%s)", name, image.FormatPlatform(have), image.FormatPlatform(want))
}

// tellPresent says which layers are here already.
func (m *machine) tellPresent(p *pull.Puller, rec store.Record, v progress.Vertex) {
	for _, l := range rec.Layers {
		if l.Blob == nil {
			continue
		}
		if size, ok := m.store.Stat(l.Blob.Digest); ok && size == l.Blob.Size {
			p.Sink().Progress(progress.Advanced{Vertex: v, Part: string(l.Blob.Digest), Current: size, Total: size, Done: true, Note: "Already exists", Time: time.Now()})
		}
	}
}
