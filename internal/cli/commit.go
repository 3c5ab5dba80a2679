package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/layer"
	"builder/image/store"
	"builder/internal/container"
	"builder/internal/diag"
	"builder/parser"
	"builder/planner"
	"builder/snapshot"
)

// commitOptions are the flags of commit.
type commitOptions struct {
	author, message string
	changes         []string
	force           bool
	tags            []image.Reference
}

func newCommit(g *globals) *cobra.Command {
	var o commitOptions
	cmd := &cobra.Command{
		Use:   "commit [OPTIONS] CONTAINER [NAME[:TAG]]",
		Short: "Make an image of what a container has changed",
		Long: "Make an image of what a container has changed. Nobody can make such an image again, so it is marked\n" +
			"(label, annotation, history), and it takes over no name that a recipe's build made unless --force is given.\n" +
			"A container that runs is not paused.",
		Example: "  builder commit -m 'what I tried' web try:1",
		Args:    between(1, 2, "a container and a name"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.tags, err = parseTags("", args[1:]); err != nil {
				return err
			}
			if _, err := changedConfig(o.changes); err != nil {
				return err
			}
			return growing(g, cmd, func(ctx context.Context, m *machine) error {
				c, err := m.containers().Find(args[0])
				if err != nil {
					return err
				}
				id, err := m.commit(ctx, c, o)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(g.out, id)
				return err
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&o.author, "author", "a", "", "author of the image")
	fl.StringVarP(&o.message, "message", "m", "", "comment of the image's history")
	fl.StringArrayVarP(&o.changes, "change", "c", nil, "apply a Dockerfile instruction to the config: "+strings.Join(changeable, ", "))
	hold(fl, "pause", "p", "false", "a container that runs is not paused; builder stop stops it")
	fl.BoolVar(&o.force, "force", false, "take over a name that a recipe's build made")
	return cmd
}

// commit makes an image of a container's image and what the container changed.
func (m *machine) commit(ctx context.Context, c *container.Container, o commitOptions) (image.Digest, error) {
	base, ok, err := m.store.Image(c.Image)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", fmt.Errorf("commit %s: its image %s is not here any more", c.Name, c.Image)
	}
	config, _, err := m.store.Config(ctx, c.Image)
	if err != nil {
		return "", err
	}
	if config.Config, err = applied(config, c.Run, o.changes); err != nil {
		return "", err
	}
	top, err := m.commitLayer(ctx, c, config)
	if err != nil {
		return "", fmt.Errorf("commit %s: %w", c.Name, err)
	}
	created := time.Unix(top.Stamps[0], 0).UTC()
	config.Created, config.Author = &created, o.author
	config.RootFS.DiffIDs = append(slices.Clone(config.RootFS.DiffIDs), top.DiffID)
	config.History = append(slices.Clone(config.History), image.History{
		Created: &created, Author: o.author, Comment: o.message,
		CreatedBy: strings.Join(c.Command, " ") + " # builder commit: not repeatable",
	})
	labels := maps.Clone(config.Config.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[image.LabelCommit] = string(c.Image)
	config.Config.Labels = labels
	data, err := config.Encode()
	if err != nil {
		return "", err
	}
	annotations := maps.Clone(base.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[image.LabelCommit] = string(c.Image)
	_, known, err := m.store.Image(digest.FromBytes(data))
	if err != nil {
		return "", err
	}
	rec, err := m.store.Add(ctx, store.Record{
		Layers: append(slices.Clone(base.Layers), top), Annotations: annotations, Origin: store.FromCommit, Made: time.Now(),
	}, data)
	if err != nil {
		return "", err
	}
	if err := m.claim(ctx, rec, o.tags, o.force); err != nil {
		if !known {
			// Refused: nothing is left of it.
			_, rerr := m.store.Remove(ctx, string(rec.ID), store.RemoveOptions{Force: true})
			err = errors.Join(err, rerr)
		}
		return "", err
	}
	return rec.ID, m.cache.Sync(ctx)
}

// commitLayer makes a layer of what the container changed. Its stamp goes on from
// its image's, as a build's would.
func (m *machine) commitLayer(ctx context.Context, c *container.Container, config image.Config) (top image.Layer, err error) {
	chain, err := m.chain(ctx, c.Layers)
	if err != nil {
		return top, err
	}
	foreign := 0
	for foreign < len(c.Layers) && c.Layers[foreign].Foreign() {
		foreign++
	}
	err = m.containers().Look(ctx, c, func(active snapshot.Active) error {
		ix, err := m.changes(ctx, chain, foreign, active)
		if err != nil {
			return err
		}
		content := ix.Content()
		stamps := []int64{nextStamp(config, content)}
		for i := len(c.Layers) - 1; i >= 0 && !c.Layers[i].Foreign(); i-- {
			stamps = append(stamps, c.Layers[i].Stamps[0])
		}
		src, err := layer.OpenDir(active.Dir())
		if err != nil {
			return err
		}
		_, err = m.depot.WriteTar(ctx, ix, src, stamps)
		if err = errors.Join(err, src.Close()); err != nil {
			return err
		}
		top, err = m.depot.Seal(ctx, content, stamps)
		return err
	})
	return top, err
}

// nextStamp is the logical clock's time after an image, for a layer.
func nextStamp(base image.Config, content image.ContentDigest) int64 {
	start := time.Date(1980, 2, 1, 0, 0, 0, 0, time.UTC).Unix()
	if base.Created != nil {
		start = max(start, base.Created.Unix())
	}
	return start + 256 + int64(content[len(content)-1])
}

// applied is the config that instructions make of a container's.
func applied(base image.Config, run image.RunConfig, changes []string) (image.RunConfig, error) {
	if len(changes) == 0 {
		return run, nil
	}
	triggers := run.OnBuild
	run.OnBuild = nil // they are for a build's FROM
	base.Config = run
	recipe, err := parser.Parse(&diag.File{Name: "--change", Text: "FROM container\n" + strings.Join(changes, "\n") + "\n"})
	if err != nil {
		return run, err
	}
	pins := planner.Pins{}
	_, wanted, err := planner.Plan(recipe, planner.Options{}, pins)
	if err != nil {
		return run, err
	}
	for _, w := range wanted {
		pins[w.Name] = planner.Pin{Digest: image.Digest("sha256:" + strings.Repeat("0", 64)), Config: base}
	}
	graph, _, err := planner.Plan(recipe, planner.Options{}, pins)
	if err != nil {
		return run, err
	}
	changed := graph.Result.Config.Config
	changed.OnBuild = append(triggers[:len(triggers):len(triggers)], changed.OnBuild...)
	return changed, nil
}
