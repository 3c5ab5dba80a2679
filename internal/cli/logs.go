package cli

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"builder/internal/container"
)

func newLogs(g *globals) *cobra.Command {
	var follow, timestamps, details bool
	var since, until, tail string
	cmd := &cobra.Command{
		Use:     "logs [OPTIONS] CONTAINER",
		Short:   "Show what a container has written",
		Example: "  builder logs -f --tail 10 web",
		Args:    exactly(1, "one container"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := container.LogOptions{Tail: -1, Timestamps: timestamps, Details: details}
			var err error
			if tail != "all" {
				if o.Tail, err = strconv.Atoi(tail); err != nil {
					return usage("--tail: %q is neither a number nor all", tail)
				}
			}
			if o.Since, err = momentOf("--since", since); err != nil {
				return err
			}
			if o.Until, err = momentOf("--until", until); err != nil {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				c, err := m.containers().Find(args[0])
				if err != nil {
					return err
				}
				out, errs := io.Writer(g.out), g.err
				if c.Terminal {
					errs = out
				}
				log, err := c.OpenLog(o, out, errs)
				if err != nil {
					return err
				}
				if follow {
					err = c.Follow(ctx, log)
				} else {
					err = log.Copy()
				}
				return errors.Join(err, log.Close())
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&follow, "follow", "f", false, "go on until the container has ended")
	fl.BoolVarP(&timestamps, "timestamps", "t", false, "show when each line was written")
	fl.BoolVar(&details, "details", false, "show what the log says of each line besides, which is nothing")
	fl.StringVarP(&tail, "tail", "n", "all", "number of lines to show from the end")
	fl.StringVar(&since, "since", "", "show what is younger: a time, or a duration such as 10m")
	fl.StringVar(&until, "until", "", "show what is older: a time, or a duration such as 10m")
	return cmd
}

// momentOf reads the value of a flag that is a moment; empty is the zero time.
func momentOf(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := filterMoment(text, time.Now())
	if err != nil {
		return at, usage("%s: %q: %v", flag, text, err).WithHint("write 2026-01-02T15:04:05Z, seconds since 1970, or a duration such as 10m")
	}
	return at, nil
}
