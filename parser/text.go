package parser

import (
	"bufio"
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"builder/internal/diag"
)

const (
	bom     = "\ufeff"
	maxLine = bufio.MaxScanTokenSize - 1
)

// place returns the place of the lines from first to last.
func place(r *reader, first, last int, text string) Place {
	return Place{Span: r.span(first, last), Text: text, Escape: r.escape}
}

// span covers the lines from first to last without the white space around them.
func (r *reader) span(first, last int) diag.Span {
	first, last = r.clamp(first), r.clamp(last)
	start, end := r.line(first), strings.TrimRightFunc(r.line(last), unicode.IsSpace)
	trimmed := strings.TrimLeftFunc(strings.TrimPrefix(start, bom), unicode.IsSpace)
	s := diag.Span{File: r.file, Start: diag.Pos{Line: first, Column: 1 + len(start) - len(trimmed)}}
	s.End = diag.Pos{Line: last, Column: 1 + len(end)}
	if first == last {
		s.End.Column = max(s.End.Column, s.Start.Column)
	}
	return s
}

// find returns the span of word in a line, or of the whole line.
func (r *reader) find(line int, word string) diag.Span {
	line = r.clamp(line)
	i := strings.Index(r.line(line), word)
	if i < 0 || word == "" {
		return r.span(line, line)
	}
	return diag.Span{File: r.file, Start: diag.Pos{Line: line, Column: i + 1}, End: diag.Pos{Line: line, Column: i + 1 + len(word)}}
}

// line returns line n of the text as it was given, blanked or not.
func (r *reader) line(n int) string {
	i := 0
	for text := range strings.Lines(r.file.Text) {
		if i++; i == n {
			return strings.TrimRight(text, "\r\n")
		}
	}
	return ""
}

func (r *reader) clamp(line int) int { return min(max(line, 1), len(r.lines)) }

// blank empties the lines from first to last.
func (r *reader) blank(first, last int) {
	for i := r.clamp(first); i <= r.clamp(last); i++ {
		if strings.HasSuffix(r.lines[i-1], "\n") {
			r.lines[i-1] = "\n"
		} else {
			r.lines[i-1] = ""
		}
	}
}

func first(at []parser.Range) int {
	if len(at) == 0 {
		return 0
	}
	return at[0].Start.Line
}

func last(at []parser.Range) int {
	if len(at) == 0 {
		return 0
	}
	return at[len(at)-1].End.Line
}
