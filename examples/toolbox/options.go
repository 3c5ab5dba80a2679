package main

import (
	"maps"
	"strconv"
	"strings"
)

// options are a tool's options, by letter; long options are stored under the
// letter that they abbreviate to.
type options struct {
	p        *process
	values   map[byte][]string
	operands []string
}

// options parses the command line. spec has a letter for each option, followed
// by ":" if it takes a value; if spec starts with "+", the first operand ends
// the options. long maps long names to letters. A wrong option ends the tool
// with status 2.
func (p *process) options(spec string, long map[string]byte) *options {
	o := &options{p: p, values: map[byte][]string{}}
	spec, first := strings.CutPrefix(spec, "+")
	args := p.args
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			o.operands = append(o.operands, args...)
			return o
		case strings.HasPrefix(arg, "--"):
			args = o.long(spec, long, arg, args)
		case len(arg) > 1 && arg[0] == '-' && (strings.IndexByte(spec, arg[1]) >= 0 || !isNumber(arg)):
			args = o.short(spec, arg[1:], args)
		case first:
			o.operands = append(append(o.operands, arg), args...)
			return o
		default:
			o.operands = append(o.operands, arg)
		}
	}
	return o
}

func isNumber(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

func (o *options) short(spec, letters string, args []string) []string {
	for i := 0; i < len(letters); i++ {
		letter := letters[i]
		at := strings.IndexByte(spec, letter)
		if letter == ':' || at < 0 {
			o.p.die(2, "unknown option -%c", letter)
		}
		if at+1 == len(spec) || spec[at+1] != ':' {
			o.add(letter, "")
			continue
		}
		if rest := letters[i+1:]; rest != "" {
			o.add(letter, rest)
			return args
		}
		if len(args) == 0 {
			o.p.die(2, "option -%c needs a value", letter)
		}
		o.add(letter, args[0])
		return args[1:]
	}
	return args
}

func (o *options) long(spec string, long map[string]byte, arg string, args []string) []string {
	name, value, given := strings.Cut(arg[2:], "=")
	letter, ok := long[name]
	if !ok {
		o.p.die(2, "unknown option --%s", name)
	}
	at := strings.IndexByte(spec, letter)
	takes := at >= 0 && at+1 < len(spec) && spec[at+1] == ':'
	switch {
	case given && !takes:
		o.p.die(2, "option --%s takes no value", name)
	case takes && !given && len(args) == 0:
		o.p.die(2, "option --%s needs a value", name)
	case takes && !given:
		value, args = args[0], args[1:]
	}
	o.add(letter, value)
	return args
}

func (o *options) add(letter byte, value string) { o.values[letter] = append(o.values[letter], value) }

// has tells whether any of the letters was given.
func (o *options) has(letters string) bool {
	for letter := range maps.Keys(o.values) {
		if strings.IndexByte(letters, letter) >= 0 {
			return true
		}
	}
	return false
}

// value returns the last value of an option, or "".
func (o *options) value(letter byte) string {
	if list := o.values[letter]; len(list) > 0 {
		return list[len(list)-1]
	}
	return ""
}

// number returns an option's value as a number.
func (o *options) number(letter byte, otherwise int64) int64 {
	text := o.value(letter)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		o.p.die(2, "%q is not a number", text)
	}
	return n
}

// need ends the tool unless it has at least n operands.
func (o *options) need(n int) {
	if len(o.operands) < n {
		o.p.die(2, "missing operand")
	}
}

// split takes the first operand off.
func (o *options) split() string {
	o.need(1)
	first := o.operands[0]
	o.operands = o.operands[1:]
	return first
}
