package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"builder/image"
	"builder/internal/progress"
)

// transfers shows pulls and pushes as docker does: a line for each layer, which
// changes in place on a terminal, and is written again when something has come
// to pass elsewhere.
type transfers struct {
	w        io.Writer
	terminal *os.File // nil where lines cannot be changed

	mu       sync.Mutex
	layers   []*transfer
	byDigest map[string]*transfer
	drawn    int
	at       time.Time // of the last drawing
	warnings warnings
	err      error
}

// transfer is one layer on its way.
type transfer struct {
	id, state      string
	current, total int64
	begun          bool
	here           bool // before anything moved
}

// newTransfers returns the display of a pull or a push.
func newTransfers(mode string, w io.Writer) display {
	switch mode {
	case "quiet", "none", "rawjson":
		return newDisplay(mode, w)
	}
	t := &transfers{w: w, byDigest: map[string]*transfer{}}
	if f, ok := w.(*os.File); ok && mode != "plain" && (mode == "tty" || isTerminal(f) && os.Getenv("TERM") != "dumb") {
		t.terminal = f
	}
	return t
}

// say writes a line above the layers.
func (t *transfers) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	t.printf(format+"\n", args...)
}

// settle leaves the layers that were shown as they are; others follow below.
func (t *transfers) settle() {
	if t.terminal != nil {
		t.draw(true)
	}
	t.layers, t.byDigest, t.drawn = nil, map[string]*transfer{}, 0
}

func (t *transfers) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

// Progress implements progress.Sink.
func (t *transfers) Progress(e progress.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := e.(type) {
	case progress.Advanced:
		t.advance(e)
	case progress.Warning:
		t.warnings.add(e.Text)
	}
}

// advance takes what is told of a layer; parts that are no layers are left out.
func (t *transfers) advance(e progress.Advanced) {
	verb, digest, ok := strings.Cut(e.Part, " ")
	if !ok {
		verb, digest = "", verb
	}
	if image.CheckDigest(image.Digest(digest)) != nil {
		return
	}
	l, known := t.byDigest[digest]
	if !known {
		l = &transfer{id: image.Digest(digest).Encoded()[:12]}
		t.byDigest[digest] = l
		t.layers = append(t.layers, l)
	}
	if l.here {
		return // what it takes to find that out is no news
	}
	l.here = e.Note != ""
	l.current, l.total = e.Current, e.Total
	words := map[string][2]string{
		"": {"Downloading", "Download complete"}, "extracting": {"Extracting", "Pull complete"}, "pushing": {"Pushing", "Pushed"},
	}[verb]
	state := words[0]
	switch {
	case e.Note != "":
		state = e.Note
	case e.Done:
		state = words[1]
	case !l.begun && verb == "":
		t.show(l, "Pulling fs layer", false)
	}
	l.begun = true
	t.show(l, state, e.Done)
}

// show notes the state of a layer. Away from a terminal only ends are told, and
// the beginning.
func (t *transfers) show(l *transfer, state string, done bool) {
	changed := l.state != state
	l.state = state
	if t.terminal != nil {
		t.draw(done)
		return
	}
	if changed && (done || state == "Pulling fs layer") {
		t.printf("%s: %s\n", l.id, state)
	}
}

// draw writes the layers' lines over those that are there, at most ten times a
// second unless it is the last time.
func (t *transfers) draw(always bool) {
	now := time.Now()
	if len(t.layers) == 0 || !always && now.Sub(t.at) < 100*time.Millisecond {
		return
	}
	t.at = now
	var b strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", t.drawn)
	}
	for _, l := range t.layers {
		fmt.Fprintf(&b, "\x1b[2K%s: %s\n", l.id, l.line())
	}
	t.drawn = len(t.layers)
	t.printf("%s", b.String())
}

func (l *transfer) line() string {
	if !strings.HasSuffix(l.state, "ing") || l.total <= 0 {
		return l.state
	}
	const width = 50
	full := int(min(l.current, l.total) * width / l.total)
	bar := strings.Repeat("=", full) + ">"
	return fmt.Sprintf("%s [%-*s] %s/%s", l.state, width+1, bar, shortSize(l.current), shortSize(l.total))
}

// Close implements display.
func (t *transfers) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	if t.err == nil {
		t.err = t.warnings.print(t.w)
	}
	return t.err
}
