package cli

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"builder/internal/container"
)

func newTop(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "top CONTAINER",
		Short:   "Show the processes of a container",
		Example: "  builder top web",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("options of ps are not there: %q", strings.Join(args[1:], " ")).WithHint("builder exec %s ps %s asks the container's own", args[0], strings.Join(args[1:], " "))
			}
			return exactly(1, "one container")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				c, err := m.containers().Find(args[0])
				if err != nil {
					return err
				}
				all, err := c.Processes()
				if err != nil {
					return err
				}
				rows := [][]string{{"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"}}
				for _, p := range all {
					rows = append(rows, processRow(p, time.Now()))
				}
				return table(g.out, rows)
			})
		},
	}
}

// processRow is a process as "ps -ef" shows it.
func processRow(p container.ProcessEntry, now time.Time) []string {
	owner := strconv.Itoa(p.UID)
	if u, err := user.LookupId(owner); err == nil && os.Getenv(insideEnv) == "" {
		owner = u.Username
	}
	started := p.Started.Local().Format("15:04")
	if now.Sub(p.Started) > 24*time.Hour {
		started = p.Started.Local().Format("Jan02")
	}
	busy := 0
	if age := now.Sub(p.Started); age > 0 {
		busy = int(100 * p.Time / age)
	}
	seconds := int(p.Time.Seconds())
	terminal := "?"
	if p.Terminal {
		terminal = "pts/0"
	}
	return []string{
		owner, strconv.Itoa(p.PID), strconv.Itoa(p.PPID), strconv.Itoa(busy), started, terminal,
		fmt.Sprintf("%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60), p.Command,
	}
}
