package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"builder/internal/progress"
)

// tailLines is how many of a running step's last lines the terminal shows.
const tailLines = 6

// tty redraws the vertices in place: those that are done above, those that run
// below with their times, transfers and last lines of output.
type tty struct {
	f     *os.File
	begun time.Time

	mu       sync.Mutex
	vertices []*ttyVertex
	byID     map[string]*ttyVertex
	warnings warnings
	drawn    int // lines on the screen that will be drawn again
	settled  int // vertices that are above the drawn lines for good
	stop     chan struct{}
	stopped  chan struct{}
}

type ttyVertex struct {
	name       string
	start, end time.Time
	cached     bool
	err        error
	tail       []string
	rest       string
	parts      []progress.Advanced
}

func newTTY(f *os.File) *tty {
	t := &tty{f: f, begun: time.Now(), byID: map[string]*ttyVertex{}, stop: make(chan struct{}), stopped: make(chan struct{})}
	go t.run()
	return t
}

// run redraws ten times a second until Close.
func (t *tty) run() {
	defer close(t.stopped)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.draw(false)
		case <-t.stop:
			return
		}
	}
}

// Progress implements progress.Sink.
func (t *tty) Progress(e progress.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := e.(type) {
	case progress.Started:
		t.vertex(e.Vertex).start = e.Time
	case progress.Output:
		t.vertex(e.Vertex).print(string(e.Data))
	case progress.Advanced:
		v := t.vertex(e.Vertex)
		i := slices.IndexFunc(v.parts, func(p progress.Advanced) bool { return p.Part == e.Part })
		if i < 0 {
			v.parts = append(v.parts, e)
		} else {
			v.parts[i] = e
		}
	case progress.Finished:
		v := t.vertex(e.Vertex)
		v.end, v.cached, v.err = e.Time, e.Cached, e.Err
	case progress.Warning:
		t.warnings.add(e.Text)
	}
}

func (t *tty) vertex(v progress.Vertex) *ttyVertex {
	tv, ok := t.byID[v.ID]
	if !ok {
		tv = &ttyVertex{name: v.Name, start: time.Now()}
		t.byID[v.ID] = tv
		t.vertices = append(t.vertices, tv)
	}
	return tv
}

func (v *ttyVertex) print(data string) {
	lines := strings.Split(v.rest+data, "\n")
	v.rest = lines[len(lines)-1]
	v.tail = append(v.tail, lines[:len(lines)-1]...)
	if extra := len(v.tail) - tailLines; extra > 0 {
		v.tail = slices.Clone(v.tail[extra:])
	}
}

// draw writes the screen anew: what is done for good is written once and
// scrolls away.
func (t *tty) draw(last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	width, height := t.size()
	var b strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", t.drawn)
	}
	for t.settled < len(t.vertices) && !t.vertices[t.settled].end.IsZero() {
		b.WriteString(t.vertices[t.settled].line(width) + "\n")
		t.settled++
	}
	var lines []string
	done := 0
	for i, v := range t.vertices {
		if !v.end.IsZero() {
			done++
		}
		if i >= t.settled {
			lines = append(lines, v.lines(width)...)
		}
	}
	if room := max(height-2, 1); len(lines) > room {
		lines = lines[len(lines)-room:]
	}
	if !last || len(lines) > 0 {
		head := fmt.Sprintf("[+] building %.1fs (%d/%d)", time.Since(t.begun).Seconds(), done, len(t.vertices))
		lines = append([]string{head}, lines...)
	}
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	t.drawn = len(lines)
	_, _ = t.f.WriteString(b.String()) // a terminal that went away ends the command by a signal
}

// lines is what the screen shows of a vertex that is not settled.
func (v *ttyVertex) lines(width int) []string {
	lines := []string{v.line(width)}
	if !v.end.IsZero() {
		return lines
	}
	for _, p := range v.parts {
		amount := byteCount(p.Current)
		if p.Total > 0 {
			amount += " / " + byteCount(p.Total)
		}
		lines = append(lines, columns(" => => "+p.Part, amount, width))
	}
	for _, text := range v.tail {
		lines = append(lines, cut(" => => # "+printable(text), width))
	}
	return lines
}

func (v *ttyVertex) line(width int) string {
	end := v.end
	if end.IsZero() {
		end = time.Now()
	}
	mark := " => "
	switch {
	case errors.Is(v.err, context.Canceled):
		mark = " => CANCELED "
	case v.err != nil:
		mark = " => ERROR "
	case v.cached:
		mark = " => CACHED "
	}
	return columns(mark+printable(v.name), fmt.Sprintf("%.1fs", end.Sub(v.start).Seconds()), width)
}

// columns puts right at the right margin.
func columns(left, right string, width int) string {
	left = cut(left, width-len(right)-1)
	space := max(1, width-utf8.RuneCountInString(left)-len(right))
	return left + strings.Repeat(" ", space) + right
}

func cut(s string, width int) string {
	runes := []rune(s)
	if width > 0 && len(runes) > width {
		return string(runes[:width])
	}
	return s
}

// printable replaces what would move the cursor.
func printable(s string) string {
	if i := strings.LastIndexByte(strings.TrimRight(s, "\r"), '\r'); i >= 0 {
		s = s[i+1:]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f:
			return -1
		}
		return r
	}, s)
}

func (t *tty) size() (width, height int) {
	ws, err := unix.IoctlGetWinsize(int(t.f.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 {
		return 80, 24
	}
	return int(ws.Col), int(ws.Row)
}

// Close implements display.
func (t *tty) Close() error {
	close(t.stop)
	<-t.stopped
	t.draw(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.warnings.print(t.f)
}
