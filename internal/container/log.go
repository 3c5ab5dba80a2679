package container

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Streams of a log's lines.
const (
	stdout = "stdout"
	stderr = "stderr"
)

// line is one line of a log, as docker's json-file driver writes it: Log ends
// with a newline unless the line was cut.
type line struct {
	Log    string    `json:"log"`
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
}

// longLine is where a line is cut, as docker does.
const longLine = 16 << 10

// log is the file that a container's output goes to.
type log struct {
	mu      sync.Mutex
	f       *os.File
	writers []*logWriter
	failed  error
}

func openLog(path string) (*log, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &log{f: f}, nil
}

// Close writes what has no newline at its end yet. The error tells of all
// failures to write: the command was not disturbed by them.
func (l *log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.writers {
		w.emit(w.rest)
	}
	return errors.Join(l.failed, l.f.Close())
}

// tee returns a writer whose bytes go to w, which may be nil, and to the log.
func (l *log) tee(w io.Writer, stream string) io.Writer {
	lw := &logWriter{log: l, to: w, stream: stream}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writers = append(l.writers, lw)
	return lw
}

type logWriter struct {
	log    *log
	to     io.Writer
	stream string
	rest   []byte
}

// Write implements [io.Writer].
func (w *logWriter) Write(p []byte) (int, error) {
	w.log.mu.Lock()
	w.split(p)
	w.log.mu.Unlock()
	if w.to == nil {
		return len(p), nil
	}
	return w.to.Write(p)
}

func (w *logWriter) split(p []byte) {
	for {
		end := bytes.IndexByte(p, '\n') + 1
		if room := longLine - len(w.rest); end == 0 && len(p) >= room || end > room {
			end = room
		}
		if end == 0 {
			w.rest = append(w.rest, p...)
			return
		}
		if len(w.rest) == 0 {
			w.emit(p[:end])
		} else {
			w.emit(append(w.rest, p[:end]...))
		}
		w.rest, p = w.rest[:0], p[end:]
	}
}

// emit writes one line. The log is locked.
func (w *logWriter) emit(text []byte) {
	if len(text) == 0 || w.log.failed != nil {
		return
	}
	data, err := json.Marshal(line{Log: string(text), Stream: w.stream, Time: time.Now().UTC()})
	if err == nil {
		_, err = w.log.f.Write(append(data, '\n'))
	}
	if err != nil {
		w.log.failed = fmt.Errorf("write log: %w", err)
	}
}

// LogOptions say what of a log is shown.
type LogOptions struct {
	// Tail is how many of the last lines are shown; all if negative.
	Tail         int
	Since, Until time.Time // zero: no bound
	Timestamps   bool
	// Details puts what docker's log options say before each line: nothing, and a space.
	Details bool
}

// LogReader copies a log to the two streams that it was written to.
type LogReader struct {
	f        *os.File
	r        *bufio.Reader
	half     []byte
	o        LogOptions
	out, err io.Writer
}

// OpenLog opens the log of a container, which may not have begun.
func (c *Container) OpenLog(o LogOptions, out, err io.Writer) (*LogReader, error) {
	f, ferr := os.OpenFile(c.LogPath(), os.O_RDONLY|os.O_CREATE, 0o600)
	if ferr != nil {
		return nil, ferr
	}
	r := &LogReader{f: f, r: bufio.NewReaderSize(f, 64<<10), o: o, out: out, err: err}
	if o.Tail >= 0 {
		if err := r.skip(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return r, nil
}

// skip moves to where the last lines begin.
func (r *LogReader) skip() error {
	size, err := r.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	at, want := size, r.o.Tail+1
	buf := make([]byte, 64<<10)
	for at > 0 && want > 0 {
		n := min(int64(len(buf)), at)
		at -= n
		if _, err := r.f.ReadAt(buf[:n], at); err != nil {
			return err
		}
		for i := n - 1; i >= 0; i-- {
			if buf[i] != '\n' {
				continue
			}
			if want--; want == 0 {
				at += i + 1
				break
			}
		}
	}
	_, err = r.f.Seek(at, io.SeekStart)
	return err
}

// Close closes the log.
func (r *LogReader) Close() error { return r.f.Close() }

// Copy shows what has been written since the last call.
func (r *LogReader) Copy() error {
	for {
		text, err := r.r.ReadSlice('\n')
		if err == nil && len(r.half) == 0 {
			if err := r.show(text); err != nil {
				return err
			}
			continue
		}
		r.half = append(r.half, text...)
		switch err {
		case nil:
			if err := r.show(r.half); err != nil {
				return err
			}
			r.half = r.half[:0]
		case bufio.ErrBufferFull:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

func (r *LogReader) show(text []byte) error {
	var l line
	if json.Unmarshal(text, &l) != nil {
		return nil // cut by a crash
	}
	if l.Time.Before(r.o.Since) || !r.o.Until.IsZero() && l.Time.After(r.o.Until) {
		return nil
	}
	w := r.out
	if l.Stream == stderr {
		w = r.err
	}
	if r.o.Details {
		l.Log = " " + l.Log
	}
	if r.o.Timestamps {
		l.Log = l.Time.Format(timestamp) + " " + l.Log
	}
	_, err := io.WriteString(w, l.Log)
	return err
}

// timestamp is docker's: nanoseconds in full, so that columns stand.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"
