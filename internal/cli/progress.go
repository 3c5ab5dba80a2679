package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"builder/internal/diag"
	"builder/internal/progress"
)

// progressModes are the values of --progress.
var progressModes = []string{"auto", "tty", "plain", "rawjson", "quiet", "none"}

// display is a progress.Sink that shows what happens. Close ends it: the last
// state is shown and the warnings are printed.
type display interface {
	progress.Sink
	Close() error
}

// newDisplay returns the display of a mode. auto is tty on a terminal, and plain
// elsewhere.
func newDisplay(mode string, w io.Writer) display {
	f, isFile := w.(*os.File)
	switch mode {
	case "quiet", "none":
		return hidden{}
	case "rawjson":
		return newRawJSON(w)
	case "tty":
		if isFile {
			return newTTY(f)
		}
	case "auto":
		if isFile && isTerminal(f) && os.Getenv("TERM") != "dumb" {
			return newTTY(f)
		}
	}
	return newPlain(w)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// hidden shows nothing but warnings.
type hidden struct{}

func (hidden) Progress(progress.Event) {}
func (hidden) Close() error            { return nil }

// warnings collects what is said at the end, each text once.
type warnings []string

func (w *warnings) add(text string) {
	if !slices.Contains(*w, text) {
		*w = append(*w, text)
	}
}

func (w warnings) print(out io.Writer) error {
	if len(w) == 0 {
		return nil
	}
	plural := "s"
	if len(w) == 1 {
		plural = ""
	}
	if _, err := fmt.Fprintf(out, "\n %d warning%s found:\n", len(w), plural); err != nil {
		return err
	}
	for _, text := range w {
		if _, err := fmt.Fprintf(out, " - %s\n", strings.TrimRight(text, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// plainDisplay writes lines in the form of BuildKit's plain progress: "#7 [2/5] RUN
// make", "#7 0.312 output", "#7 DONE 1.2s".
type plainDisplay struct {
	mu       sync.Mutex
	w        io.Writer
	numbers  map[string]*plainVertex
	last     *plainVertex
	warnings warnings
	err      error
}

type plainVertex struct {
	n        int
	name     string
	started  time.Time
	finished bool
	rest     map[progress.Stream][]byte // the beginning of a line
	parts    map[string]time.Time       // when a transfer was last shown
}

func newPlain(w io.Writer) *plainDisplay {
	return &plainDisplay{w: w, numbers: map[string]*plainVertex{}}
}

// Progress implements progress.Sink.
func (p *plainDisplay) Progress(e progress.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := e.(type) {
	case progress.Started:
		v := p.vertex(e.Vertex)
		v.started = e.Time
		p.turn(v)
	case progress.Output:
		p.output(p.vertex(e.Vertex), e)
	case progress.Advanced:
		p.advance(p.vertex(e.Vertex), e)
	case progress.Finished:
		p.finish(p.vertex(e.Vertex), e)
	case progress.Warning:
		p.warnings.add(e.Text)
	}
}

func (p *plainDisplay) vertex(v progress.Vertex) *plainVertex {
	pv, ok := p.numbers[v.ID]
	if !ok {
		pv = &plainVertex{n: len(p.numbers) + 1, name: v.Name, rest: map[progress.Stream][]byte{}, parts: map[string]time.Time{}}
		p.numbers[v.ID] = pv
	}
	return pv
}

// turn makes v the vertex that lines are about.
func (p *plainDisplay) turn(v *plainVertex) {
	if p.last == v {
		return
	}
	if p.last != nil {
		if !p.last.finished {
			p.printf("#%d ...\n", p.last.n)
		}
		p.printf("\n")
	}
	p.printf("#%d %s\n", v.n, v.name)
	p.last = v
}

func (p *plainDisplay) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *plainDisplay) output(v *plainVertex, e progress.Output) {
	p.turn(v)
	data := append(v.rest[e.Stream], e.Data...)
	at := e.Time.Sub(v.started).Seconds()
	for {
		i := slices.Index(data, '\n')
		if i < 0 {
			break
		}
		p.printf("#%d %.3f %s\n", v.n, at, strings.TrimSuffix(string(data[:i]), "\r"))
		data = data[i+1:]
	}
	v.rest[e.Stream] = slices.Clone(data)
}

// advance shows a transfer when it starts to move, every few seconds, and at
// its end.
func (p *plainDisplay) advance(v *plainVertex, e progress.Advanced) {
	shown, ok := v.parts[e.Part]
	if !e.Done && ok && e.Time.Sub(shown) < 5*time.Second {
		return
	}
	v.parts[e.Part] = e.Time
	p.turn(v)
	amount := ""
	switch {
	case e.Total > 0:
		amount = fmt.Sprintf(" %s / %s", byteCount(e.Current), byteCount(e.Total))
	case e.Current > 0:
		amount = " " + byteCount(e.Current)
	}
	if e.Done {
		amount += " done"
	}
	p.printf("#%d %s%s\n", v.n, e.Part, amount)
}

func (p *plainDisplay) finish(v *plainVertex, e progress.Finished) {
	if v.finished {
		return
	}
	p.turn(v)
	for _, stream := range []progress.Stream{progress.Stdout, progress.Stderr} {
		if rest := v.rest[stream]; len(rest) > 0 {
			p.printf("#%d %.3f %s\n", v.n, e.Time.Sub(v.started).Seconds(), rest)
		}
	}
	v.finished = true
	switch {
	case errors.Is(e.Err, context.Canceled):
		p.printf("#%d CANCELED\n", v.n)
	case e.Err != nil:
		p.printf("#%d ERROR: %s\n", v.n, firstLine(e.Err))
	case e.Cached:
		p.printf("#%d CACHED\n", v.n)
	default:
		p.printf("#%d DONE %.1fs\n", v.n, e.Time.Sub(v.started).Seconds())
	}
}

// Close implements display.
func (p *plainDisplay) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = p.warnings.print(p.w)
	}
	return p.err
}

// firstLine is what a list of vertices says of an error; the place in the recipe
// is told once, at the end.
func firstLine(err error) string {
	if e, ok := errors.AsType[*diag.Error](err); ok {
		return e.Message
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// byteCount writes a size as docker does, in decimal units.
func byteCount(n int64) string { return byteCountDigits(n, 4) }

func byteCountDigits(n int64, digits int) string {
	value, units := float64(n), []string{"B", "kB", "MB", "GB", "TB", "PB"}
	for len(units) > 1 && value >= 1000 {
		value, units = value/1000, units[1:]
	}
	return fmt.Sprintf("%.*g%s", digits, value, units[0])
}
