package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"builder/internal/progress"
)

// tailLines is how many of its last lines an error shows of a step's output.
const tailLines = 20

// stepLog passes a step's output on to the sink and into a file, which is made
// at the first byte.
type stepLog struct {
	run    *run
	vertex progress.Vertex
	path   string
	// secrets are values that are not shown.
	secrets [][]byte
	streams []*stepStream

	mu   sync.Mutex
	file *os.File
	last []byte // the end of the output
	err  error
}

func newStepLog(r *run, v progress.Vertex, path string, secrets [][]byte) *stepLog {
	return &stepLog{run: r, vertex: v, path: path, secrets: secrets}
}

// stream returns the writer for one of the process's outputs.
func (l *stepLog) stream(s progress.Stream) *stepStream {
	stream := &stepStream{l, s, newMask(l.secrets)}
	l.streams = append(l.streams, stream)
	return stream
}

type stepStream struct {
	log    *stepLog
	stream progress.Stream
	mask   *mask
}

// Write never fails: a full disk must not make the step's process fail.
func (s *stepStream) Write(p []byte) (int, error) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.show(s.mask.write(p))
	return len(p), nil
}

// show passes output on.
func (s *stepStream) show(p []byte) {
	l := s.log
	if len(p) == 0 {
		return
	}
	l.run.Progress.Progress(progress.Output{Vertex: l.vertex, Stream: s.stream, Data: append([]byte(nil), p...), Time: now()})
	l.last = append(l.last, p...)
	if extra := len(l.last) - 64<<10; extra > 0 {
		l.last = append(l.last[:0], l.last[extra:]...)
	}
	if l.err != nil {
		return
	}
	if l.file == nil {
		if l.err = os.MkdirAll(filepath.Dir(l.path), 0o700); l.err != nil {
			return
		}
		// A step that is made again has a new log: the old one is not truncated under
		// a reader.
		if err := os.Remove(l.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			l.err = err
			return
		}
		if l.file, l.err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); l.err != nil {
			return
		}
	}
	_, l.err = l.file.Write(p)
}

// Close ends the log.
func (l *stepLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		s.show(s.mask.end())
	}
	if l.file == nil {
		return nil
	}
	if err := l.file.Close(); err != nil && l.err == nil {
		l.err = err
	}
	if l.err != nil {
		l.run.Progress.Progress(progress.Warning{Vertex: l.vertex, Text: fmt.Sprintf("the log %s is not complete: %v", l.path, l.err)})
	}
	return nil
}

// kept names the file that has the whole output, if there is one.
func (l *stepLog) kept() string {
	if l.file == nil || l.err != nil {
		return ""
	}
	return l.path
}

// tail returns the last lines, indented.
func (l *stepLog) tail() string {
	text := strings.TrimRight(strings.ToValidUTF8(string(l.last), "?"), "\n")
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	return "  > " + strings.Join(lines, "\n  > ")
}
