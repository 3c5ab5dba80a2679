package main

import (
	"fmt"
	"regexp"
	"strings"
)

// compile compiles a POSIX regular expression, basic or extended, with the
// longest match. Back-references are refused.
func compile(pattern string, extended, fold bool) (*regexp.Regexp, error) {
	t := translator{in: pattern, extended: extended}
	text, err := t.translate()
	if err != nil {
		return nil, err
	}
	if fold {
		text = "(?i)" + text
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("invalid regular expression %q", pattern)
	}
	re.Longest()
	return re, nil
}

// translator writes a POSIX expression in Go's syntax.
type translator struct {
	in       string
	at       int
	extended bool
	out      strings.Builder
	start    bool // at a place where "*" is literal and "^" an anchor
}

func (t *translator) translate() (string, error) {
	t.start = true
	for t.at < len(t.in) {
		c := t.in[t.at]
		t.at++
		wasStart := t.start
		t.start = false
		switch c {
		case '\\':
			if err := t.escape(); err != nil {
				return "", err
			}
		case '[':
			if err := t.bracket(); err != nil {
				return "", err
			}
		case '.':
			t.out.WriteByte('.')
		case '*':
			if wasStart && !t.extended {
				t.out.WriteString(`\*`)
			} else {
				t.out.WriteByte('*')
			}
		case '^':
			t.anchor(wasStart || t.extended, '^')
			t.start = wasStart
		case '$':
			t.anchor(t.extended || t.atEnd(), '$')
		case '(', ')', '|', '+', '?', '{', '}':
			t.operator(c, t.extended)
		default:
			t.out.WriteString(regexp.QuoteMeta(t.in[t.at-1 : t.at]))
		}
	}
	return t.out.String(), nil
}

func (t *translator) anchor(special bool, c byte) {
	if !special {
		t.out.WriteByte('\\')
	}
	t.out.WriteByte(c)
}

// operator writes c with its meaning or, if it has none here, as itself.
func (t *translator) operator(c byte, special bool) {
	if !special {
		t.out.WriteByte('\\')
	}
	t.out.WriteByte(c)
	if special && (c == '(' || c == '|') {
		t.start = true
	}
}

// atEnd tells whether an anchor may stand here in a basic expression.
func (t *translator) atEnd() bool {
	rest := t.in[t.at:]
	return rest == "" || strings.HasPrefix(rest, `\)`) || strings.HasPrefix(rest, `\|`)
}

func (t *translator) escape() error {
	if t.at == len(t.in) {
		return fmt.Errorf("trailing backslash in %q", t.in)
	}
	c := t.in[t.at]
	t.at++
	switch c {
	case '(', ')', '|', '+', '?', '{', '}':
		t.operator(c, !t.extended)
	case 'n', 't', 'r', 'f', 'v', 'w', 'W', 's', 'S', 'b', 'B':
		t.out.WriteByte('\\')
		t.out.WriteByte(c)
	case '<', '>':
		t.out.WriteString(`\b`)
	default:
		if '1' <= c && c <= '9' {
			return fmt.Errorf(`back-reference \%c is not supported`, c)
		}
		t.out.WriteString(regexp.QuoteMeta(t.in[t.at-1 : t.at]))
	}
	return nil
}

// bracket copies a bracket expression, whose "[" has been read.
func (t *translator) bracket() error {
	t.out.WriteByte('[')
	if strings.HasPrefix(t.in[t.at:], "^") {
		t.out.WriteByte('^')
		t.at++
	}
	for first := true; ; first = false {
		if t.at >= len(t.in) {
			return fmt.Errorf("unmatched [ in %q", t.in)
		}
		c := t.in[t.at]
		t.at++
		switch {
		case c == ']' && !first:
			t.out.WriteByte(']')
			return nil
		case c == '[' && strings.HasPrefix(t.in[t.at:], ":"):
			end := strings.Index(t.in[t.at:], ":]")
			if end < 0 {
				return fmt.Errorf("unmatched [: in %q", t.in)
			}
			t.out.WriteString("[" + t.in[t.at:t.at+end+2])
			t.at += end + 2
		case c == '\\' && t.at < len(t.in) && strings.IndexByte("nt", t.in[t.at]) >= 0:
			t.out.WriteString(`\` + t.in[t.at:t.at+1])
			t.at++
		case strings.IndexByte(`[]\^&~`, c) >= 0:
			t.out.WriteString(`\` + t.in[t.at-1:t.at])
		default:
			t.out.WriteByte(c)
		}
	}
}
