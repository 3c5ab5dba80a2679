package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A sedAddress is a line number ('n'), the last line ('$'), an expression
// ('/') or, as the end of a range, a count of lines ('+').
type sedAddress struct {
	kind byte
	n    int
	re   *regexp.Regexp
}

type sedCommand struct {
	from, to *sedAddress
	negate   bool
	name     byte
	text     string // of a, i and c; the exit status of q
	re       *regexp.Regexp
	with     []sedPart // the replacement of s
	nth      int       // the first match that s replaces, from 1
	all      bool
	print    bool
	table    *strings.Replacer // of y
	block    []*sedCommand     // of {

	active bool // inside the range
	until  int  // last line of an active range that ends at a number
}

// A sedPart is a piece of a replacement: text, or the group with that number.
type sedPart struct {
	text  string
	group int // -1 for text
}

// sedParser reads a script.
type sedParser struct {
	in       string
	at       int
	extended bool
	last     *regexp.Regexp // what an empty expression means
}

// sedError ends parsing; only parse recovers it.
type sedError struct{ text string }

func (s *sedParser) fail(format string, args ...any) {
	panic(sedError{fmt.Sprintf(format, args...)})
}

func (s *sedParser) parse() (commands []*sedCommand, err error) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case sedError:
			err = fmt.Errorf("script, character %d: %s", s.at, e.text)
		default:
			panic(e)
		}
	}()
	commands = s.commands(false)
	return commands, nil
}

func (s *sedParser) commands(inner bool) []*sedCommand {
	var list []*sedCommand
	for {
		s.skip(" \t\n;")
		switch {
		case s.at == len(s.in):
			if inner {
				s.fail("missing }")
			}
			return list
		case s.in[s.at] == '}':
			if !inner {
				s.fail("unexpected }")
			}
			s.at++
			return list
		case s.in[s.at] == '#':
			s.line()
		default:
			list = append(list, s.command())
		}
	}
}

func (s *sedParser) skip(set string) {
	for s.at < len(s.in) && strings.IndexByte(set, s.in[s.at]) >= 0 {
		s.at++
	}
}

// next returns the next byte and steps over it.
func (s *sedParser) next() byte {
	if s.at == len(s.in) {
		s.fail("unexpected end")
	}
	s.at++
	return s.in[s.at-1]
}

// line returns what is left of the line.
func (s *sedParser) line() string {
	rest := s.in[s.at:]
	line, _, _ := strings.Cut(rest, "\n")
	s.at = min(s.at+len(line)+1, len(s.in))
	return line
}

func (s *sedParser) number() (int, bool) {
	start := s.at
	s.skip("0123456789")
	n, err := strconv.Atoi(s.in[start:s.at])
	return n, err == nil
}

func (s *sedParser) command() *sedCommand {
	c := &sedCommand{from: s.address(false)}
	s.skip(" \t")
	if c.from != nil && s.at < len(s.in) && s.in[s.at] == ',' {
		s.at++
		s.skip(" \t")
		if c.to = s.address(true); c.to == nil {
			s.fail("missing address after the comma")
		}
		s.skip(" \t")
	}
	for s.at < len(s.in) && s.in[s.at] == '!' {
		c.negate = true
		s.at++
		s.skip(" \t")
	}
	c.name = s.next()
	switch c.name {
	case '{':
		c.block = s.commands(true)
		return c
	case 'a', 'i', 'c':
		c.text = s.text()
		return c
	case 's':
		s.substitution(c)
	case 'y':
		s.transliteration(c)
	case 'q':
		s.skip(" \t")
		start := s.at
		s.number()
		c.text = s.in[start:s.at]
	case 'd', 'D', 'p', 'P', 'n', 'N', 'h', 'H', 'g', 'G', 'x', '=':
	default:
		s.fail("unknown command %q", string(c.name))
	}
	s.skip(" \t")
	if s.at < len(s.in) && strings.IndexByte(";\n}#", s.in[s.at]) < 0 {
		s.fail("extra characters after the command")
	}
	return c
}

func (s *sedParser) address(end bool) *sedAddress {
	if s.at == len(s.in) {
		return nil
	}
	switch c := s.in[s.at]; {
	case '0' <= c && c <= '9':
		n, _ := s.number()
		return &sedAddress{kind: 'n', n: n}
	case c == '$':
		s.at++
		return &sedAddress{kind: '$'}
	case c == '+' && end:
		s.at++
		n, ok := s.number()
		if !ok {
			s.fail("missing number after +")
		}
		return &sedAddress{kind: '+', n: n}
	case c == '/', c == '\\':
		delimiter := s.next()
		if c == '\\' {
			delimiter = s.next()
		}
		text := s.until(delimiter, true)
		fold := s.at < len(s.in) && s.in[s.at] == 'I'
		if fold {
			s.at++
		}
		return &sedAddress{kind: '/', re: s.expression(text, fold)}
	}
	return nil
}

// until returns the text up to an unescaped delimiter. In an expression a
// bracket may hold the delimiter.
func (s *sedParser) until(delimiter byte, expression bool) string {
	var text strings.Builder
	bracket := -1
	for {
		c := s.next()
		switch {
		case bracket >= 0:
			if c == ']' && s.at-1 > bracket {
				bracket = -1
			}
		case c == delimiter:
			return text.String()
		case c == '\\':
			next := s.next()
			if next != delimiter {
				text.WriteByte(c)
			}
			c = next
		case c == '[' && expression:
			bracket = s.at
			if strings.HasPrefix(s.in[s.at:], "^") {
				bracket++
			}
		}
		text.WriteByte(c)
	}
}

func (s *sedParser) expression(text string, fold bool) *regexp.Regexp {
	if text == "" {
		if s.last == nil {
			s.fail("no previous regular expression")
		}
		return s.last
	}
	re, err := compile(text, s.extended, fold)
	if err != nil {
		s.fail("%v", err)
	}
	s.last = re
	return re
}

func (s *sedParser) substitution(c *sedCommand) {
	delimiter := s.next()
	text := s.until(delimiter, true)
	with := s.until(delimiter, false)
	c.nth = 1
	fold := false
	for s.at < len(s.in) {
		switch f := s.in[s.at]; {
		case f == 'g':
			c.all = true
		case f == 'p':
			c.print = true
		case f == 'i' || f == 'I':
			fold = true
		case '1' <= f && f <= '9':
			c.nth, _ = s.number()
			continue
		default:
			c.re = s.expression(text, fold)
			c.with = s.replacement(with, c.re.NumSubexp())
			return
		}
		s.at++
	}
	c.re = s.expression(text, fold)
	c.with = s.replacement(with, c.re.NumSubexp())
}

func (s *sedParser) replacement(text string, groups int) []sedPart {
	var parts []sedPart
	plain := ""
	group := func(n int) {
		if n > groups {
			s.fail(`no group \%d in the expression`, n)
		}
		parts = append(parts, sedPart{text: plain, group: -1}, sedPart{group: n})
		plain = ""
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '&':
			group(0)
		case c == '\\' && i+1 < len(text):
			i++
			switch c = text[i]; {
			case '0' <= c && c <= '9':
				group(int(c - '0'))
			case c == 'n':
				plain += "\n"
			case c == 't':
				plain += "\t"
			default:
				plain += text[i : i+1]
			}
		default:
			plain += text[i : i+1]
		}
	}
	return append(parts, sedPart{text: plain, group: -1})
}

func (s *sedParser) transliteration(c *sedCommand) {
	delimiter := s.next()
	from, to := []rune(s.until(delimiter, false)), []rune(s.until(delimiter, false))
	if len(from) != len(to) {
		s.fail("the strings of y differ in length")
	}
	var pairs []string
	for i := range from {
		pairs = append(pairs, string(from[i]), string(to[i]))
	}
	c.table = strings.NewReplacer(pairs...)
}

// text reads what a, i and c print: the rest of the line, or, after a
// backslash, the lines that follow for as long as they end in one.
func (s *sedParser) text() string {
	s.skip(" \t")
	if strings.HasPrefix(s.in[s.at:], "\\") {
		s.at++
		s.skip(" \t")
		if strings.HasPrefix(s.in[s.at:], "\n") {
			s.at++
		}
	}
	var text strings.Builder
	for {
		line := s.line()
		more := strings.HasSuffix(line, `\`)
		text.WriteString(strings.TrimSuffix(line, `\`))
		if !more {
			return text.String()
		}
		text.WriteByte('\n')
	}
}
