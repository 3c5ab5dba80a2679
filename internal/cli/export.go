package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"builder/internal/container"
	"builder/snapshot"
)

func newExport(g *globals) *cobra.Command {
	var dest string
	cmd := &cobra.Command{
		Use:     "export [OPTIONS] CONTAINER",
		Short:   "Write a container's files to a tar",
		Example: "  builder export -o web.tar web",
		Args:    exactly(1, "one container"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				c, err := m.containers().Find(args[0])
				if err != nil {
					return err
				}
				err = m.containers().Look(ctx, c, func(active snapshot.Active) error {
					return m.writeFile(dest, func(w io.Writer) error { return container.Export(ctx, w, active) })
				})
				if err != nil {
					return fmt.Errorf("export %s: %w", c.Name, err)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&dest, "output", "o", "-", "file to write; - is standard output")
	return cmd
}
