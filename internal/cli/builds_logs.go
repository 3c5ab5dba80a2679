package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"builder/internal/history"
	"builder/internal/progress"
)

func newBuildsLogs(g *globals) *cobra.Command {
	mode := choice{value: "plain", words: []string{"plain", "rawjson", "tty"}}
	cmd := &cobra.Command{
		Use:     "logs [OPTIONS] [REF]",
		Short:   "Show the progress of a build again",
		Example: "  builder history logs\n  builder history logs --progress=rawjson ^1",
		Args:    between(0, 1, "one build at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				k, err := m.build(args...)
				if err != nil {
					return err
				}
				log, err := k.Log()
				if err != nil {
					return err
				}
				if mode.value == "rawjson" {
					_, err := g.out.Write(log)
					return err
				}
				view := newDisplay(mode.value, g.out)
				return errors.Join(replay(view, k.Record, log), view.Close())
			})
		},
	}
	cmd.Flags().Var(&mode, "progress", "how to show it: "+strings.Join(mode.words, ", "))
	return cmd
}

// errReplayed is the fault of a step in a log, of which the text is left.
type errReplayed struct{ text string }

func (e errReplayed) Error() string { return e.text }

// Is reports whether the fault was an interrupt.
func (e errReplayed) Is(target error) bool {
	return target == context.Canceled && (strings.Contains(e.text, context.Canceled.Error()) || e.text == errInterrupted.Error())
}

// replay shows a log as its build was shown.
func replay(to progress.Sink, r *history.Record, log []byte) error {
	names := map[string]string{}
	faults := map[string]string{}
	for _, v := range r.Vertices {
		faults[v.Name] = v.Error
	}
	vertex := func(digest string) progress.Vertex { return progress.Vertex{ID: digest, Name: names[digest]} }
	dec := json.NewDecoder(bufio.NewReader(bytes.NewReader(log)))
	for {
		var s jsonStatus
		err := dec.Decode(&s)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("record %s: its log cannot be read: %w", r.Ref, err)
		}
		for _, v := range s.Vertexes {
			names[v.Digest] = harmless(v.Name)
			if v.Completed == nil && v.Started != nil {
				to.Progress(progress.Started{Vertex: vertex(v.Digest), Time: *v.Started})
			}
			if v.Completed == nil {
				continue
			}
			e := progress.Finished{Vertex: vertex(v.Digest), Cached: v.Cached, Time: *v.Completed}
			if v.Error != "" {
				e.Err = errReplayed{v.Error}
				if short := faults[v.Name]; short != "" && !errors.Is(e.Err, context.Canceled) {
					e.Err = errReplayed{short}
				}
			}
			to.Progress(e)
		}
		for _, l := range s.Logs {
			data := l.Data
			if r.Imported {
				data = []byte(strings.Map(imported, string(data)))
			}
			to.Progress(progress.Output{Vertex: vertex(l.Vertex), Stream: progress.Stream(l.Stream), Data: data, Time: l.Timestamp})
		}
		for _, p := range s.Statuses {
			to.Progress(progress.Advanced{Vertex: vertex(p.Vertex), Part: harmless(p.ID), Current: p.Current, Total: p.Total, Done: p.Completed != nil, Time: p.Timestamp})
		}
		for _, w := range s.Warnings {
			to.Progress(progress.Warning{Text: shownWarning(r, string(w.Short))})
		}
	}
}

// shownWarning is a warning of a log as it was shown, with the lines of the recipe.
func shownWarning(r *history.Record, text string) string {
	for _, full := range r.Warnings {
		if strings.HasPrefix(full, text) {
			text = full
			break
		}
	}
	if r.Imported {
		text = lines(text)
	}
	return text
}

// imported leaves a stranger's text its lines and tabs, and nothing else that a
// terminal would obey.
func imported(r rune) rune {
	if r == '\n' || r == '\t' || r == '\r' {
		return r
	}
	if r < ' ' || r >= 0x7f && r < 0xa0 {
		return '\ufffd'
	}
	return r
}

// since is how long after the beginning of its build a moment is.
func since(r *history.Record, at time.Time) time.Duration { return max(0, at.Sub(r.StartedAt)) }
