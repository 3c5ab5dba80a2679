package bake

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"

	"builder/internal/diag"
)

// Options are what files are read with.
type Options struct {
	// Env gives variables of files their values, and such of compose files.
	Env func(name string) (string, bool)
	// Vars outrank Env.
	Vars map[string]string
	// Builtin are variables of this machine, such as BAKE_LOCAL_PLATFORM.
	Builtin map[string]string
}

// Definition is what files say.
type Definition struct {
	Variables []Variable
	groups    map[string]*group
	targets   map[string]*Target
	order     []string // of targets, as they are written
	env       func(name string) (string, bool)
}

type group struct {
	targets     []string
	description string
}

// Variable is a variable of the files.
type Variable struct {
	Name, Description, Type string
	// Value is what it is, as JSON or as text; empty where it is nothing.
	Value string
}

// Read reads files; what later ones say outranks the earlier. All that is wrong in one step of
// the reading is told at once.
func Read(files []*diag.File, o Options) (*Definition, error) {
	e := newEvaluator(o)
	d := &Definition{groups: map[string]*group{}, targets: map[string]*Target{}, env: o.Env}
	var compose []*diag.File
	for _, f := range files {
		if isCompose(f.Name) {
			compose = append(compose, f)
			continue
		}
		body, err := parse(f)
		if err == nil {
			err = e.add(f, body)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(compose) > 0 {
		if err := d.compose(compose, o); err != nil {
			return nil, err
		}
	}
	if err := e.evaluate(d); err != nil {
		return nil, err
	}
	return d, nil
}

func isCompose(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return ext == ".yml" || ext == ".yaml"
}

// parse reads HCL, or JSON where the name or the text says so.
func parse(f *diag.File) (hcl.Body, error) {
	if strings.EqualFold(filepath.Ext(f.Name), ".json") || strings.HasPrefix(strings.TrimSpace(f.Text), "{") {
		file, problems := hcljson.Parse([]byte(f.Text), f.Name)
		if problems.HasErrors() {
			return nil, faults(f, problems)
		}
		return file.Body, nil
	}
	file, problems := hclsyntax.ParseConfig([]byte(f.Text), f.Name, hcl.Pos{Line: 1, Column: 1})
	if problems.HasErrors() {
		return nil, faults(f, problems)
	}
	return file.Body, nil
}

// faults translates what HCL finds wrong. files are those that it may be in.
func faults(f *diag.File, problems hcl.Diagnostics) error {
	var list diag.List
	for _, p := range problems {
		if p.Severity != hcl.DiagError {
			continue
		}
		text := p.Summary
		if p.Detail != "" {
			text = strings.TrimSuffix(p.Summary, ".") + ": " + p.Detail
		}
		list.Add(diag.Errorf(span(f, p.Subject), "%s", strings.TrimSpace(text)))
	}
	return list.Err()
}

// span is a place in a file. HCL counts columns in characters, and its bytes are from
// the beginning.
func span(f *diag.File, r *hcl.Range) diag.Span {
	if f == nil || r == nil {
		return diag.Span{}
	}
	return diag.Span{File: f, Start: place(f, r.Start), End: place(f, r.End)}
}

func place(f *diag.File, at hcl.Pos) diag.Pos {
	if at.Byte < 0 || at.Byte > len(f.Text) {
		return diag.Pos{Line: at.Line, Column: at.Column}
	}
	return diag.Pos{Line: at.Line, Column: at.Byte - strings.LastIndexByte(f.Text[:at.Byte], '\n')}
}

// errNone is for names that nothing has.
var errNone = errors.New("not found")

// pattern compiles an expression when it is first asked for: most commands read no files of targets.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
