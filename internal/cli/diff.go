package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

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
		ix, err := m.depot.Scan(ctx, chain, len(chain), active, nil)
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
