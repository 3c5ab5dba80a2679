package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/registry"
	"builder/image/store"
	"builder/internal/progress"
	"builder/internal/pull"
)

// registry returns the client for registries, with the settings of builder.toml.
func (m *machine) registry() (*registry.Client, error) {
	config, err := registry.ReadConfig(os.Getenv)
	if err != nil {
		return nil, err
	}
	return registry.New(registry.Options{Config: config, UserAgent: "builder/" + version()}), nil
}

func newPull(g *globals) *cobra.Command {
	var platform string
	var quiet bool
	mode := choice{value: "auto", words: progressModes}
	cmd := &cobra.Command{
		Use:     "pull [OPTIONS] NAME[:TAG|@DIGEST]",
		Short:   "Bring an image from a registry",
		Example: "  builder pull registry.example.com/app:1.0",
		Args:    exactly(1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				ref, err := image.ParseReference(args[0])
				if err != nil {
					return usage("%v", err)
				}
				want, err := platformOr(platform)
				if err != nil {
					return err
				}
				if quiet {
					mode.value = "quiet"
				}
				return m.pull(ctx, ref, want, mode.value)
			})
		},
	}
	cmd.Flags().StringVar(&platform, "platform", "", "platform of the image (default this machine's)")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show nothing but the name")
	cmd.Flags().Var(&mode, "progress", "how to show progress")
	return cmd
}

// platformOr parses a platform; empty is this machine's.
func platformOr(text string) (image.Platform, error) {
	if text == "" {
		return image.DefaultPlatform(), nil
	}
	p, err := image.ParsePlatform(text)
	if err != nil {
		return p, usage("--platform: %v", err)
	}
	return p, nil
}

// pull brings an image whole and says, as docker does, whether it is new.
func (m *machine) pull(ctx context.Context, ref image.Reference, want image.Platform, mode string) (err error) {
	before, _, err := m.store.Lookup(ctx, ref, want)
	if err != nil {
		return err
	}
	client, err := m.registry()
	if err != nil {
		return err
	}
	view := newDisplay(mode, m.err)
	img, err := m.bring(ctx, pull.New(m.store, client, pull.Always, view), ref, want)
	if err = errors.Join(err, view.Close()); err != nil {
		return err
	}
	if mode != "quiet" {
		status := "Downloaded newer image for"
		if before.ID == img.Record.ID {
			status = "Image is up to date for"
		}
		fmt.Fprintf(m.out, "Digest: %s\nStatus: %s %s\n", img.Digest, status, ref.Familiar())
	}
	_, err = fmt.Fprintln(m.out, ref.String())
	return err
}

// bring resolves a name and fetches its layers.
func (m *machine) bring(ctx context.Context, p *pull.Puller, ref image.Reference, want image.Platform) (pull.Image, error) {
	img, err := p.Resolve(ctx, ref, want, metadataVertex(ref))
	if err != nil {
		return img, fmt.Errorf("pull %s: %w", ref.Familiar(), err)
	}
	_, err = p.Layers(ctx, img.Digest, want, progress.Vertex{ID: "pull " + ref.String(), Name: "pull " + ref.Familiar()})
	if err != nil {
		return img, fmt.Errorf("pull %s: %w", ref.Familiar(), err)
	}
	return img, nil
}

func newPush(g *globals) *cobra.Command {
	var quiet bool
	mode := choice{value: "auto", words: progressModes}
	cmd := &cobra.Command{
		Use:     "push [OPTIONS] NAME[:TAG]",
		Short:   "Send an image to the registry of its name",
		Example: "  builder push registry.example.com/app:1.0",
		Args:    exactly(1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				tags, err := parseTags(args)
				if err != nil {
					return err
				}
				found, ok, err := m.store.Lookup(ctx, tags[0], image.Platform{})
				if err != nil {
					return err
				}
				if !ok {
					return usage("an image with the name %s is not here", tags[0].Familiar()).WithHint("builder images lists what is")
				}
				img, config, err := m.store.Load(ctx, found.Record)
				if err != nil {
					return err
				}
				if quiet {
					mode.value = "quiet"
				}
				view := newDisplay(mode.value, g.err)
				v := progress.Vertex{ID: "push", Name: "push " + tags[0].Familiar()}
				view.Progress(progress.Started{Vertex: v, Time: time.Now()})
				desc, err := m.push(ctx, img, config, tags[0], image.Form{}, v, view)
				view.Progress(progress.Finished{Vertex: v, Err: err, Time: time.Now()})
				if err = errors.Join(err, view.Close()); err != nil {
					return err
				}
				_, err = fmt.Fprintf(g.out, "%s: digest: %s size: %d\n", tags[0].Tag(), desc.Digest, desc.Size)
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show nothing but the result")
	cmd.Flags().Var(&mode, "progress", "how to show progress")
	return cmd
}

// push packs an image and sends it.
func (m *machine) push(ctx context.Context, img image.Image, config []byte, ref image.Reference, form image.Form, v progress.Vertex, sink progress.Sink) (image.Descriptor, error) {
	client, err := m.registry()
	if err != nil {
		return image.Descriptor{}, err
	}
	packed, err := m.store.Pack(ctx, img, config, form, m.depot)
	if err != nil {
		return image.Descriptor{}, err
	}
	desc, err := client.Push(ctx, ref, []image.Export{{Packed: packed.Packed, Blobs: packed}}, registry.PushOptions{Types: form.Types, Vertex: v, Sink: sink})
	if err != nil {
		return desc, err
	}
	err = m.store.AddManifest(ctx, packed.Config.Digest, desc.Digest)
	if errors.Is(err, store.ErrNotFound) {
		err = nil // build --push sends what the store does not have
	}
	return desc, err
}
