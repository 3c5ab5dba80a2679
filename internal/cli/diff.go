package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/layer"
	"builder/internal/container"
	"builder/snapshot"
)

func newDiff(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "diff CONTAINER",
		Short:   "Show what a container has added (A), changed (C) and deleted (D)",
		Example: "  builder diff web",
		Args:    exactly(1, "one container"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				c, err := m.containers().Find(args[0])
				if err != nil {
					return err
				}
				lines, err := m.diff(ctx, c)
				if err != nil {
					return fmt.Errorf("diff %s: %w", c.Name, err)
				}
				for _, line := range lines {
					fmt.Fprintln(g.out, line)
				}
				return nil
			})
		},
	}
}

// diff lists the paths that a container has changed, in their order.
func (m *machine) diff(ctx context.Context, c *container.Container) ([]string, error) {
	chain, err := m.chain(ctx, c.Layers)
	if err != nil {
		return nil, err
	}
	below := m.depot.Files(chain)
	defer below.Close()
	stack, err := below.View(ctx)
	if err != nil {
		return nil, err
	}
	var lines []string
	err = m.containers().Look(ctx, c, func(active snapshot.Active) error {
		ix, err := m.changes(ctx, chain, len(chain), active)
		if err != nil {
			return err
		}
		for i := range ix.Entries {
			e := &ix.Entries[i]
			kind := "A"
			if _, was := stack.Lookup(e.Path); was {
				kind = "C"
			}
			if e.Type == layer.Whiteout {
				kind = "D"
			}
			lines = append(lines, kind+" /"+e.Path)
		}
		return nil
	})
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	return lines, err
}

// changes is what a container has changed, without what it did not do itself: the
// empty directories on which the kernel's file systems are mounted for it.
func (m *machine) changes(ctx context.Context, chain []image.ContentDigest, foreign int, active snapshot.Active) (_ *layer.Index, err error) {
	ix, err := m.depot.Scan(ctx, chain, foreign, active, nil)
	if err != nil {
		return nil, err
	}
	var own []layer.Entry
	var places []int
	for i, e := range ix.Entries {
		empty := i+1 == len(ix.Entries) || !strings.HasPrefix(ix.Entries[i+1].Path, e.Path+"/")
		if kernels := e.Path == "dev" || e.Path == "proc" || e.Path == "sys"; kernels && e.Type == layer.Dir && empty {
			places = append(places, i)
		}
	}
	if len(places) == 0 {
		return ix, nil
	}
	below := m.depot.Files(chain)
	defer func() { err = errors.Join(err, below.Close()) }()
	stack, err := below.View(ctx)
	if err != nil {
		return nil, err
	}
	for i, e := range ix.Entries {
		if _, was := stack.Lookup(e.Path); was || !slices.Contains(places, i) {
			own = append(own, e)
		}
	}
	return layer.NewIndex(own)
}
