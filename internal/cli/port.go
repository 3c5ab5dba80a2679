package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"builder/internal/container"
)

func newPort(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "port CONTAINER [PORT[/PROTOCOL]]",
		Short:   "Show where ports of a container are published",
		Example: "  builder port web 80",
		Args:    between(1, 2, "a container, and perhaps a port of it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			want := ""
			if len(args) == 2 {
				if want = args[1]; !strings.Contains(want, "/") {
					want += "/tcp"
				}
			}
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				c, err := m.containers().Find(args[0])
				if err != nil {
					return err
				}
				found := false
				for _, p := range sortedPorts(c.Published) {
					switch {
					case c.Status != container.Running:
					case want == "":
						fmt.Fprintf(g.out, "%s -> %s\n", p.Name(), address(p))
					case want == p.Name():
						found = true
						fmt.Fprintln(g.out, address(p))
					}
				}
				if want != "" && !found {
					return usage("no public port '%s' published for %s", want, args[0])
				}
				return nil
			})
		},
	}
}
