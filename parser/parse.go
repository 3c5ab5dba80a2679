package parser

import (
	"errors"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"builder/internal/diag"
)

// maxFaults bounds how often a text is read again behind a fault that stops
// the reading.
const maxFaults = 32

// Parse reads a recipe. The error is a [diag.List] of all faults found; with
// one, the recipe has what checks found before the first fault, and nothing else
// of use.
func Parse(f *diag.File) (*Recipe, error) { return ParseWith(f, Options{}) }

// Options are what a recipe is read with beside its text.
type Options struct {
	// Syntax takes the place of the syntax directive: the build argument
	// BUILDKIT_SYNTAX. It may be nil.
	Syntax *string
	// Include reads the files that the recipe includes. It may be nil.
	Include Include
}

// ParseWith is Parse with options.
func ParseWith(f *diag.File, o Options) (*Recipe, error) {
	r := newReader(f)
	r.syntax, r.included.open = o.Syntax, o.Include
	recipe := &Recipe{File: f, Escape: parser.DefaultEscapeToken}
	r.directives()
	tree := r.tree()
	if options, _, at, ok := parser.ParseDirective("check", []byte(f.Text)); ok {
		recipe.Check, recipe.CheckSpan = options, r.find(max(first(at), 1), options)
	}
	if tree == nil {
		return recipe, r.faults.Err()
	}
	recipe.Escape, r.escape = tree.EscapeToken, tree.EscapeToken
	r.continuations(&recipe.Report, tree.Warnings)
	for _, node := range tree.AST.Children {
		r.instruction(recipe, node)
	}
	if r.included.stages {
		for _, s := range recipe.Stages {
			if s.Span.File == f {
				r.counted(s)
			}
		}
	}
	if len(recipe.Stages) == 0 && len(r.faults) == 0 {
		r.faults.Add(diag.Errorf(diag.Span{File: f}, "dockerfile contains no stages to build").
			WithHint("start with FROM, for example \"FROM scratch\""))
	}
	if len(r.faults) > 0 {
		r.suspect(recipe)
		return recipe, r.faults.Err()
	}
	recipe.checkNames()
	recipe.checkCasing()
	return recipe, nil
}

// ParseTrigger reads an ONBUILD trigger of a base image. Its place is at, that
// of the FROM which runs it, and so is the place of an error.
func ParseTrigger(text string, at diag.Span) (Instruction, error) {
	tree, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, diag.Errorf(at, "ONBUILD trigger %q of the base: %s", text, cause(err))
	}
	if len(tree.AST.Children) != 1 {
		return nil, diag.Errorf(at, "ONBUILD trigger %q of the base: onbuild trigger should be a single expression", text)
	}
	node := tree.AST.Children[0]
	parsed, err := instructions.ParseInstruction(node)
	if err != nil {
		return nil, diag.Errorf(at, "ONBUILD trigger %q of the base: %s", text, cause(err))
	}
	place := Place{Span: at, Keyword: node.Value, Text: strings.TrimSpace(node.Original)}
	in, fault := convert(parsed, place)
	if fault != nil {
		return nil, diag.Errorf(at, "ONBUILD trigger %q of the base: %s", text, fault.Message).WithHint("%s", fault.Hint)
	}
	return in, nil
}

// reader is one reading of a recipe.
type reader struct {
	file   *diag.File
	lines  []string // with their ends
	faults diag.List
	early  bool // an instruction stood before the first FROM

	syntax    *string // what is read in place of the syntax directive; may be nil
	escape    rune
	extended  bool // the language is builder/1
	included  *inclusion
	chain     []*diag.File // the files that include each other up to this one, itself last
	fragment  bool         // the file has no FROM
	undecided bool         // it is taken for a fragment until a file that it includes has stages
	ended     bool         // the last stage is another file's: nothing can be added to it
}

func newReader(f *diag.File) *reader {
	return &reader{file: f, lines: strings.SplitAfter(f.Text, "\n"), included: &inclusion{}, chain: []*diag.File{f}}
}

// directives checks the comments at the head that direct the reading.
func (r *reader) directives() {
	var p parser.DirectiveParser
	for i, line := range r.lines {
		if i == 0 {
			line = strings.TrimPrefix(line, bom)
		}
		line = strings.TrimLeft(strings.TrimRight(line, "\r\n"), " \t\v\f\r\u0085\u00a0")
		d, err := p.ParseLine([]byte(line))
		switch {
		case err != nil:
			r.faults.Add(diag.Errorf(r.span(i+1, i+1), "%s", err))
			r.blank(i+1, i+1)
		case d == nil:
			r.declared()
			return
		case d.Name == "escape" && d.Value != "`" && d.Value != `\`:
			r.faults.Add(diag.Errorf(r.find(i+1, d.Value), "invalid escape token '%s' does not match ` or \\", d.Value))
			r.blank(i+1, i+1)
		}
	}
	r.declared()
}

// tree splits the text into nodes. A node that cannot be split is reported and
// left out. It returns nil where nothing is left to read.
func (r *reader) tree() *parser.Result {
	for range maxFaults {
		result, err := parser.Parse(strings.NewReader(strings.Join(r.lines, "")))
		if err == nil {
			return result
		}
		var located *parser.LocationError
		var at []parser.Range
		if errors.As(err, &located) && len(located.Locations) > 0 {
			at = located.Locations[0]
		}
		from, to := max(first(at), 1), max(last(at), 1)
		message := cause(err)
		switch {
		case strings.HasPrefix(message, "file with no instructions"):
			if long := r.longLine(); long > 0 {
				r.tooLong(long)
			} else if len(r.faults) == 0 && len(r.chain) == 1 {
				r.faults.Add(diag.Errorf(diag.Span{File: r.file}, "file with no instructions").
					WithHint("start with FROM, for example \"FROM scratch\""))
			}
			return nil
		case strings.HasPrefix(message, "dockerfile line greater"):
			r.tooLong(r.longLine())
			return nil
		case message == "unterminated heredoc":
			r.faults.Add(diag.Errorf(r.find(from, "<<"), "unterminated heredoc").
				WithHint("end it with a line that holds nothing but its name"))
		default:
			r.faults.Add(r.fault(err, place(r, from, to, "")))
		}
		r.blank(from, to)
	}
	return nil
}

// longLine returns the number of the first line that is too long to be read; 0
// for none.
func (r *reader) longLine() int {
	for i, line := range r.lines {
		if len(line) > maxLine {
			return i + 1
		}
	}
	return 0
}

func (r *reader) tooLong(line int) {
	r.faults.Add(diag.Errorf(diag.Span{File: r.file, Start: diag.Pos{Line: line}}, "line greater than max allowed size of %d bytes", maxLine))
}

// instruction adds what node says to the recipe.
func (r *reader) instruction(recipe *Recipe, node *parser.Node) {
	at := place(r, node.StartLine, node.EndLine, strings.TrimSpace(node.Original))
	at.Keyword, at.Comments = node.Value, node.PrevComment
	optional := false
	switch strings.ToUpper(node.Value) {
	case "INCLUDE":
		if r.extended {
			r.include(recipe, at)
			return
		}
		r.faults.Add(diag.Errorf(r.find(at.Span.Start.Line, node.Value), "unknown instruction %q", node.Value).WithHint("%s", r.extensionHint()))
		return
	case "COPY", "ADD":
		optional = r.optional(node, at)
	case "ONBUILD":
		if r.extended && r.extends(node) {
			r.faults.Add(diag.Errorf(at.Span, "ONBUILD takes no INCLUDE and no --optional").WithHint("triggers run in recipes that need not be builder/1"))
			return
		}
	}
	parsed, err := instructions.ParseInstructionWithLinter(node, r.watch(recipe, &at))
	if err != nil {
		r.faults.Add(r.fault(err, at))
		if strings.EqualFold(node.Value, "FROM") {
			// What follows belongs to it all the same.
			recipe.Stages = append(recipe.Stages, &Stage{Place: at})
		}
		return
	}
	if from, ok := parsed.(*instructions.Stage); ok {
		r.ended = false
		recipe.Stages = append(recipe.Stages, &Stage{Place: at, Base: from.BaseName, Name: from.Name, Platform: from.Platform, Doc: from.DocComment})
		return
	}
	in, fault := convert(parsed, at)
	if fault != nil {
		r.faults.Add(fault)
		return
	}
	if c, ok := in.(*Copy); ok {
		c.Optional = optional
	}
	arg, global := in.(*Arg)
	switch {
	case r.ended:
		r.faults.Add(diag.Errorf(at.Span, "no build stage in current context: %s after an INCLUDE with stages", strings.ToUpper(at.Keyword)).
			WithHint("begin a stage with FROM"))
	case len(recipe.Stages) > 0:
		stage := recipe.Stages[len(recipe.Stages)-1]
		stage.Instructions = append(stage.Instructions, in)
	case global:
		recipe.Args = append(recipe.Args, arg)
	case !r.early:
		r.early = true
		r.faults.Add(diag.Errorf(at.Span, "no build stage in current context: %s before the first FROM", strings.ToUpper(at.Keyword)).
			WithHint("only ARG may come before FROM"))
	}
}
