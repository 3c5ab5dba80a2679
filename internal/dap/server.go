package dap

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
)

// Launch is what the editor wants to be built, beside what the command line says.
type Launch struct {
	Dockerfile  string            `json:"dockerfile"`
	ContextPath string            `json:"contextPath"`
	Target      string            `json:"target"`
	Args        map[string]string `json:"args"`
	StopOnEntry bool              `json:"stopOnEntry"`
}

// Stop is where a build has stopped. Functions may be nil where there is nothing to be had.
type Stop struct {
	Name       string // of the step
	File       string // the recipe, as an absolute path; empty where it has none
	Line, Last int    // of the step in it, from 1
	Err        error  // why it failed; nil in front of a step
	Env        []string
	// List and Read look into the step's tree by absolute paths.
	List func(path string) ([]Entry, error)
	Read func(path string) ([]byte, error)
	// Exec runs a command in the tree and returns what it wrote.
	Exec func(ctx context.Context, command string) (string, error)
}

// Entry is a file in a directory.
type Entry struct {
	Name, Mode string
	Dir        bool
}

// ErrTerminated ends a build that the editor does not want any more.
var ErrTerminated = errors.New("the debugger has ended the build")

// Server is the conversation with one editor.
type Server struct {
	in  *bufio.Reader
	out io.Writer

	writing sync.Mutex
	seq     int

	mu          sync.Mutex
	breakpoints map[string]map[int]bool
	stepping    bool
	failures    bool // stop at them
	ended       bool
	stop        *Stop
	resume      chan struct{}
	variables   []func() ([]variable, error) // by reference, from 1

	launch     Launch
	launched   bool
	configured bool
	started    bool
	cancel     context.CancelCauseFunc
	build      func(ctx context.Context, l Launch) error
	finished   chan struct{}
}

// New returns a server that builds with a function, once the editor is ready.
func New(in io.Reader, out io.Writer, build func(ctx context.Context, l Launch) error) *Server {
	return &Server{in: bufio.NewReader(in), out: out, build: build, breakpoints: map[string]map[int]bool{}, failures: true, finished: make(chan struct{})}
}

// Serve answers the editor until it goes, or ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	s.cancel = cancel
	defer cancel(nil)
	var failed error
	for {
		m, err := read(s.in)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				failed = err
			}
			break
		}
		if m.Type != "request" {
			continue
		}
		body, err := s.answer(ctx, m)
		ok := err == nil
		answer := &message{Type: "response", Command: m.Command, RequestSeq: m.Seq, Success: &ok, Body: body}
		if err != nil {
			answer.Message = err.Error()
			answer.Body = map[string]any{"error": map[string]any{"id": 1, "format": err.Error()}}
		}
		if err := s.send(answer); err != nil {
			failed = err
			break
		}
		if m.Command == "initialize" {
			s.event("initialized", nil)
		}
		s.start(ctx)
		if m.Command == "disconnect" {
			break
		}
	}
	s.end()
	if s.started {
		<-s.finished
	}
	return failed
}

// start begins the build when the editor has said what and where to stop.
func (s *Server) start(ctx context.Context) {
	if !s.launched || !s.configured || s.started {
		return
	}
	s.started = true
	go func() {
		defer close(s.finished)
		err := s.build(ctx, s.launch)
		code := 0
		if err != nil {
			code = 1
		}
		s.event("exited", map[string]any{"exitCode": code})
		s.event("terminated", nil)
	}()
}

// end lets a build that has stopped go on to its end, which is near.
func (s *Server) end() {
	s.cancel(ErrTerminated)
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.release(false)
}

// release lets the build go on.
func (s *Server) release(step bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stepping = step
	if s.stop != nil {
		s.stop, s.variables = nil, nil
		close(s.resume)
	}
}

// Reached is called where the build could stop, and returns when it goes on. One at a time
// is wanted: others wait outside.
func (s *Server) Reached(at *Stop) error {
	s.mu.Lock()
	reason := ""
	switch {
	case s.ended:
		s.mu.Unlock()
		return ErrTerminated
	case at.Err != nil && s.failures:
		reason = "exception"
	case at.Err != nil:
	case s.at(at):
		reason = "breakpoint"
	case s.stepping:
		reason = "step"
	}
	if reason == "" {
		s.mu.Unlock()
		return nil
	}
	s.stop, s.resume, s.variables = at, make(chan struct{}), nil
	resume := s.resume
	s.mu.Unlock()
	body := map[string]any{"reason": reason, "threadId": 1, "allThreadsStopped": true, "description": at.Name}
	if at.Err != nil {
		body["text"] = at.Err.Error()
	}
	s.event("stopped", body)
	<-resume
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return ErrTerminated
	}
	return nil
}

// at reports whether there is a breakpoint on the lines of a step.
func (s *Server) at(stop *Stop) bool {
	lines := s.breakpoints[filepath.Clean(stop.File)]
	for line := stop.Line; line <= stop.Last; line++ {
		if lines[line] {
			return true
		}
	}
	return false
}

// Write shows text to the editor's user.
func (s *Server) Write(p []byte) (int, error) {
	s.event("output", map[string]any{"category": "console", "output": string(p)})
	return len(p), nil
}

func (s *Server) event(name string, body any) {
	// Nobody is there to be told that it cannot be told.
	_ = s.send(&message{Type: "event", Event: name, Body: body})
}

func (s *Server) send(m *message) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.seq++
	m.Seq = s.seq
	return write(s.out, m)
}

func arguments(m *message, to any) error {
	if len(m.Arguments) == 0 {
		return nil
	}
	if err := json.Unmarshal(m.Arguments, to); err != nil {
		return fmt.Errorf("arguments of %s: %w", m.Command, err)
	}
	return nil
}
