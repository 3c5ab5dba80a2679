package dap

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// answer does what a request wants and returns the body of the answer.
func (s *Server) answer(ctx context.Context, m *message) (any, error) {
	switch m.Command {
	case "initialize":
		return map[string]any{
			"supportsConfigurationDoneRequest": true, "supportsTerminateRequest": true, "supportsEvaluateForHovers": false,
			"exceptionBreakpointFilters": []any{map[string]any{"filter": "failures", "label": "steps that fail", "default": true}},
		}, nil
	case "launch":
		if err := arguments(m, &s.launch); err != nil {
			return nil, err
		}
		s.launched = true
		s.mu.Lock()
		s.stepping = s.launch.StopOnEntry
		s.mu.Unlock()
		return nil, nil
	case "attach":
		return nil, errors.New("there is no build to attach to: launch one")
	case "setBreakpoints":
		return s.setBreakpoints(m)
	case "setExceptionBreakpoints":
		var a struct{ Filters []string }
		err := arguments(m, &a)
		s.mu.Lock()
		s.failures = len(a.Filters) > 0
		s.mu.Unlock()
		return nil, err
	case "configurationDone":
		s.configured = true
		return nil, nil
	case "threads":
		return map[string]any{"threads": []any{map[string]any{"id": 1, "name": "build"}}}, nil
	case "continue", "next", "stepIn", "stepOut":
		s.release(m.Command != "continue" && m.Command != "stepOut")
		return map[string]any{"allThreadsContinued": true}, nil
	case "pause":
		s.mu.Lock()
		s.stepping = true // at the next step: a command that runs is not stopped
		s.mu.Unlock()
		return nil, nil
	case "terminate", "disconnect":
		s.end()
		return nil, nil
	}
	return s.look(ctx, m)
}

func (s *Server) setBreakpoints(m *message) (any, error) {
	var a struct {
		Source      struct{ Path string }
		Breakpoints []struct{ Line int }
	}
	if err := arguments(m, &a); err != nil {
		return nil, err
	}
	lines, list := map[int]bool{}, []any{}
	for i, b := range a.Breakpoints {
		lines[b.Line] = true
		list = append(list, map[string]any{"id": i + 1, "verified": true, "line": b.Line})
	}
	s.mu.Lock()
	s.breakpoints[filepath.Clean(a.Source.Path)] = lines
	s.mu.Unlock()
	return map[string]any{"breakpoints": list}, nil
}

// look answers questions about where the build has stopped.
func (s *Server) look(ctx context.Context, m *message) (any, error) {
	s.mu.Lock()
	stop := s.stop
	s.mu.Unlock()
	switch m.Command {
	case "stackTrace":
		frames := []any{}
		if stop != nil {
			frame := map[string]any{"id": 1, "name": stop.Name, "line": stop.Line, "endLine": stop.Last, "column": 1}
			if stop.File != "" {
				frame["source"] = map[string]any{"name": filepath.Base(stop.File), "path": stop.File}
			}
			frames = append(frames, frame)
		}
		return map[string]any{"stackFrames": frames, "totalFrames": len(frames)}, nil
	case "scopes":
		return map[string]any{"scopes": s.scopes(stop)}, nil
	case "variables":
		var a struct{ VariablesReference int }
		if err := arguments(m, &a); err != nil {
			return nil, err
		}
		list, err := s.variablesOf(a.VariablesReference)
		return map[string]any{"variables": list}, err
	case "evaluate":
		var a struct{ Expression string }
		if err := arguments(m, &a); err != nil {
			return nil, err
		}
		return evaluate(ctx, stop, a.Expression)
	}
	return nil, fmt.Errorf("%q is not known here", m.Command)
}

// evaluate runs a command, with or without the word exec in front.
func evaluate(ctx context.Context, stop *Stop, expression string) (any, error) {
	if stop == nil || stop.Exec == nil {
		return nil, errors.New("the build does not stand in a tree now")
	}
	command := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(expression), "exec "))
	if command == "" {
		return nil, errors.New("there is no command")
	}
	out, err := stop.Exec(ctx, command)
	if err != nil {
		return nil, fmt.Errorf("%s%w", out, err)
	}
	return map[string]any{"result": out, "variablesReference": 0}, nil
}

// variable is a name and a value; one with a reference has others in it.
type variable struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	Type      string `json:"type,omitempty"`
	Reference int    `json:"variablesReference"`
}

func (s *Server) scopes(stop *Stop) []any {
	scopes := []any{}
	if stop == nil {
		return scopes
	}
	env := s.refer(func() ([]variable, error) {
		var list []variable
		for _, e := range stop.Env {
			name, value, _ := strings.Cut(e, "=")
			list = append(list, variable{Name: name, Value: value})
		}
		return list, nil
	})
	scopes = append(scopes, map[string]any{"name": "Environment", "variablesReference": env, "expensive": false})
	if stop.List != nil {
		files := s.refer(func() ([]variable, error) { return s.files(stop, "/") })
		scopes = append(scopes, map[string]any{"name": "Files", "variablesReference": files, "expensive": true})
	}
	return scopes
}

// refer keeps a list until the build goes on, and returns the number that it is asked for by.
func (s *Server) refer(list func() ([]variable, error)) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.variables = append(s.variables, list)
	return len(s.variables)
}

func (s *Server) variablesOf(reference int) ([]variable, error) {
	s.mu.Lock()
	var list func() ([]variable, error)
	if reference > 0 && reference <= len(s.variables) {
		list = s.variables[reference-1]
	}
	s.mu.Unlock()
	if list == nil {
		return nil, errors.New("the build has gone on")
	}
	all, err := list()
	if all == nil {
		all = []variable{}
	}
	return all, err
}

// maxShown is how much of a file is shown.
const maxShown = 16 << 10

// files lists a directory. What is in another one, and what a file says, is asked for later.
func (s *Server) files(stop *Stop, dir string) ([]variable, error) {
	entries, err := stop.List(dir)
	if err != nil {
		return nil, err
	}
	var list []variable
	for _, e := range entries {
		at := path.Join(dir, e.Name)
		v := variable{Name: e.Name, Value: e.Mode}
		switch {
		case e.Dir:
			v.Name += "/"
			v.Reference = s.refer(func() ([]variable, error) { return s.files(stop, at) })
		case strings.HasPrefix(e.Mode, "-") && stop.Read != nil:
			v.Reference = s.refer(func() ([]variable, error) { return content(stop, at) })
		}
		list = append(list, v)
	}
	return list, nil
}

func content(stop *Stop, at string) ([]variable, error) {
	data, err := stop.Read(at)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%d bytes", len(data))
	if len(data) <= maxShown && utf8.Valid(data) {
		text = string(data)
	}
	return []variable{{Name: "content", Value: text}}, nil
}
