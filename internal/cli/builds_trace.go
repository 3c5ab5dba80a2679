package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"builder/internal/history"
)

func newBuildsTrace(g *globals) *cobra.Command {
	var dest, compare string
	format := choice{value: "chrome", words: []string{"chrome", "otlp"}}
	cmd := &cobra.Command{
		Use:   "trace [OPTIONS] [REF]",
		Short: "Write how long each step of a build took, for a viewer of traces, or compare two builds",
		Example: "  builder history trace --output build.json\n" +
			"  builder history trace --compare ^1",
		Args: between(0, 1, "one build at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if compare != "" && cmd.Flags().Changed("format") {
				return usage("--compare shows a table, and --format is of a trace")
			}
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				k, err := m.build(args...)
				if err != nil {
					return err
				}
				write := func(w io.Writer) error { return writeTrace(w, format.value, k.Record) }
				if compare != "" {
					other, err := m.build(compare)
					if err != nil {
						return err
					}
					write = func(w io.Writer) error { return compareBuilds(w, k.Record, other.Record) }
				}
				if dest == "" || dest == "-" {
					return write(g.out)
				}
				return m.writeFile(dest, write)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&compare, "compare", "", "show the steps of this build beside those of REF (default the newest)")
	fl.StringVarP(&dest, "output", "o", "", "the file (default standard output)")
	fl.Var(&format, "format", "form of the trace: chrome (Perfetto and chrome://tracing read it) or otlp (OpenTelemetry's JSON)")
	return cmd
}

func writeTrace(w io.Writer, format string, r *history.Record) error {
	if format == "otlp" {
		return json.NewEncoder(w).Encode(otlpTrace(r))
	}
	return json.NewEncoder(w).Encode(chromeTrace(r))
}

// chromeEvent is a complete event of the Trace Event Format; times are microseconds.
type chromeEvent struct {
	Name  string            `json:"name"`
	Cat   string            `json:"cat,omitempty"`
	Phase string            `json:"ph"`
	TS    int64             `json:"ts"`
	Dur   int64             `json:"dur"`
	PID   int               `json:"pid"`
	TID   int               `json:"tid"`
	Args  map[string]string `json:"args,omitempty"`
}

// chromeTrace puts the build on the first row, and each vertex on the first of the
// others that is free: what stands below something was done at the same time.
func chromeTrace(r *history.Record) any {
	events := []chromeEvent{{Name: r.Name, Cat: "build", Phase: "X", Dur: r.Duration.Microseconds(), PID: 1, TID: 1, Args: map[string]string{"ref": r.Ref, "status": string(r.Status)}}}
	var free []time.Time
	for _, v := range byStart(r) {
		row := slices.IndexFunc(free, func(at time.Time) bool { return !at.After(v.Started) })
		if row < 0 {
			row = len(free)
			free = append(free, time.Time{})
		}
		free[row] = v.Started.Add(v.Took())
		args := map[string]string{"cached": strconv.FormatBool(v.Cached)}
		if v.Error != "" {
			args["error"] = v.Error
		}
		cat := "internal"
		if v.Step {
			cat = "step"
		}
		events = append(events, chromeEvent{v.Name, cat, "X", since(r, v.Started).Microseconds(), v.Took().Microseconds(), 1, row + 2, args})
	}
	return map[string]any{"displayTimeUnit": "ms", "traceEvents": events}
}

func byStart(r *history.Record) []history.Vertex {
	list := slices.Clone(r.Vertices)
	slices.SortStableFunc(list, func(a, b history.Vertex) int { return a.Started.Compare(b.Started) })
	return list
}

// The part of OpenTelemetry's JSON that a trace needs.
type (
	otlpSpan struct {
		TraceID    string          `json:"traceId"`
		SpanID     string          `json:"spanId"`
		Parent     string          `json:"parentSpanId,omitempty"`
		Name       string          `json:"name"`
		Kind       int             `json:"kind"`
		Start      string          `json:"startTimeUnixNano"`
		End        string          `json:"endTimeUnixNano"`
		Attributes []otlpAttribute `json:"attributes,omitempty"`
		Status     *otlpStatus     `json:"status,omitempty"`
	}
	otlpAttribute struct {
		Key   string            `json:"key"`
		Value map[string]string `json:"value"`
	}
	otlpStatus struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
)

// otlpTrace has one span for the build, and in it one for each vertex. The IDs follow
// from the reference.
func otlpTrace(r *history.Record) any {
	id := func(n int, size int) string {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", r.Ref, n))
		return hex.EncodeToString(sum[:size])
	}
	text := func(key, value string) otlpAttribute {
		return otlpAttribute{key, map[string]string{"stringValue": value}}
	}
	nano := func(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }
	fault := func(message string) *otlpStatus {
		if message == "" {
			return nil
		}
		return &otlpStatus{2, message}
	}
	trace, root := id(-1, 16), id(0, 8)
	build := otlpSpan{TraceID: trace, SpanID: root, Name: r.Name, Kind: 1, Start: nano(r.StartedAt), End: nano(r.StartedAt.Add(r.Duration)), Attributes: []otlpAttribute{text("ref", r.Ref), text("status", string(r.Status))}}
	if r.Error != nil {
		build.Status = fault(r.Error.Message)
	}
	spans := []otlpSpan{build}
	for i, v := range byStart(r) {
		spans = append(spans, otlpSpan{
			TraceID: trace, SpanID: id(i+1, 8), Parent: root, Name: v.Name, Kind: 1, Start: nano(v.Started), End: nano(v.Started.Add(v.Took())),
			Attributes: []otlpAttribute{text("cached", strconv.FormatBool(v.Cached))}, Status: fault(v.Error),
		})
	}
	return map[string]any{"resourceSpans": []any{map[string]any{
		"resource":   map[string]any{"attributes": []otlpAttribute{text("service.name", "builder")}},
		"scopeSpans": []any{map[string]any{"scope": map[string]string{"name": "builder"}, "spans": spans}},
	}}}
}

// compareBuilds shows the vertices of two builds side by side, as far as their names
// are the same; what takes longer in the second has a + before the difference.
func compareBuilds(w io.Writer, a, b *history.Record) error {
	rows := [][]string{{"STEP", a.Ref[:min(12, len(a.Ref))], b.Ref[:min(12, len(b.Ref))], "DIFFERENCE"}}
	left := map[string][]history.Vertex{}
	for _, v := range b.Vertices {
		left[v.Name] = append(left[v.Name], v)
	}
	for _, v := range a.Vertices {
		same := left[v.Name]
		if len(same) == 0 {
			rows = append(rows, []string{harmless(v.Name), spent(v), "-", ""})
			continue
		}
		rows = append(rows, []string{harmless(v.Name), spent(v), spent(same[0]), difference(same[0].Took() - v.Took())})
		left[v.Name] = same[1:]
	}
	for _, v := range b.Vertices {
		if same := left[v.Name]; len(same) > 0 {
			left[v.Name] = same[1:]
			rows = append(rows, []string{harmless(v.Name), "-", spent(v), ""})
		}
	}
	total := func(r *history.Record) string { return preciseDuration(r.Duration) }
	rows = append(rows, []string{"total", total(a), total(b), difference(b.Duration - a.Duration)})
	return table(w, rows)
}

// spent says how long a vertex took and why.
func spent(v history.Vertex) string {
	switch {
	case v.Cached:
		return "cached"
	case v.Error != "":
		return preciseDuration(v.Took()) + " failed"
	case v.Completed.IsZero():
		return "not ended"
	}
	return preciseDuration(v.Took())
}

func difference(d time.Duration) string {
	return cmp.Or(map[bool]string{true: "+"}[d >= 0], "-") + preciseDuration(d.Abs())
}

// preciseDuration is for comparisons: milliseconds count there.
func preciseDuration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.3fs", d.Seconds())
	}
	return shortDuration(d)
}
