package diag

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// File is a text that spans point into. Name is what the user calls it; it may
// be empty for text that has no name, such as a command line.
type File struct {
	Name string
	Text string
}

// line returns line n (from 1) without its line end.
func (f *File) line(n int) (string, bool) {
	rest := f.Text
	for i := 1; ; i++ {
		text, after, more := strings.Cut(rest, "\n")
		if i == n {
			return strings.TrimSuffix(text, "\r"), true
		}
		if !more {
			return "", false
		}
		rest = after
	}
}

// Pos is a place in a text. Line and Column count from 1; Column counts bytes.
// The zero Pos is no place.
type Pos struct {
	Line, Column int
}

// Span is the text from Start up to and without End. A span without a File has
// no place to show; an End without a line stands for the end of Start's line.
type Span struct {
	File       *File
	Start, End Pos
}

// IsZero reports whether the span points nowhere.
func (s Span) IsZero() bool { return s.File == nil }

// String returns the place as file:line:column.
func (s Span) String() string {
	if s.File == nil {
		return ""
	}
	if s.Start.Line == 0 {
		return s.File.Name
	}
	return fmt.Sprintf("%s:%d:%d", s.File.Name, s.Start.Line, max(s.Start.Column, 1))
}

// Excerpt returns the first line of the span with a caret line below it.
func (s Span) Excerpt() string {
	if s.File == nil || s.Start.Line == 0 {
		return ""
	}
	text, ok := s.File.line(s.Start.Line)
	if !ok {
		return ""
	}
	from := min(max(s.Start.Column, 1)-1, len(text))
	to := len(text)
	if s.End.Line == s.Start.Line && s.End.Column > 0 {
		to = min(s.End.Column-1, len(text))
	}
	to = max(to, from)
	carets := strings.Repeat("^", max(1, utf8.RuneCountInString(strings.TrimRight(text[from:to], " \t"))))
	return fmt.Sprintf("%4d | %s\n     | %s%s\n", s.Start.Line, printable(text), blank(text[:from]), carets)
}

// printable replaces what would move a terminal's cursor or change its state.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			return utf8.RuneError
		}
		return r
	}, text)
}

// blank returns white space as wide as text, keeping its tabs.
func blank(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, text)
}

// Error is one fault: where, what, and how to mend it.
type Error struct {
	Span    Span
	Message string // one line, lower case, no full stop
	Hint    string // what to do about it; may be empty
	Detail  string // lines shown below the excerpt, such as a step's last output
	Err     error  // the cause, for errors.Is; it is not printed
}

// Errorf returns a fault at span.
func Errorf(span Span, format string, args ...any) *Error {
	return &Error{Span: span, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns e with a remedy.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Error returns the place and the message on one line.
func (e *Error) Error() string {
	if place := e.Span.String(); place != "" {
		return place + ": " + e.Message
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Text returns the whole message for a terminal: place, excerpt with caret,
// detail and hint, each on lines of its own.
func (e *Error) Text() string {
	var b strings.Builder
	b.WriteString(e.Error())
	b.WriteByte('\n')
	b.WriteString(e.Span.Excerpt())
	if e.Detail != "" {
		b.WriteString(strings.TrimRight(e.Detail, "\n"))
		b.WriteByte('\n')
	}
	if e.Hint != "" {
		b.WriteString("hint: " + e.Hint + "\n")
	}
	return b.String()
}

// List is all faults of one reading.
type List []*Error

// Add appends a fault.
func (l *List) Add(e *Error) { *l = append(*l, e) }

// Err returns nil for an empty list, else the list in the order of the text.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	slices.SortStableFunc(l, func(a, b *Error) int {
		return a.Span.Start.Line - b.Span.Start.Line
	})
	return l
}

// Error joins the one-line forms.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the faults for errors.Is and errors.As.
func (l List) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

// Text returns what a terminal should show for any error: the full form of
// every fault in it, or its plain message.
func Text(err error) string {
	if list, ok := errors.AsType[List](err); ok {
		var b strings.Builder
		for i, e := range list {
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(e.Text())
		}
		return b.String()
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Text()
	}
	return err.Error() + "\n"
}
