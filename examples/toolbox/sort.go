package main

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// sortKey is what -k says: fields and characters from 1; a zero end is the
// line's.
type sortKey struct {
	field, char       int
	endField, endChar int
	flags             string
}

func sortLines(p *process) {
	o := p.options("nrufbsk:t:o:cz", map[string]byte{
		"numeric-sort": 'n', "reverse": 'r', "unique": 'u', "ignore-case": 'f', "ignore-leading-blanks": 'b',
		"stable": 's', "key": 'k', "field-separator": 't', "output": 'o', "check": 'c', "zero-terminated": 'z',
	})
	flags := ""
	for _, c := range "nrfb" {
		if o.has(string(c)) {
			flags += string(c)
		}
	}
	var keys []sortKey
	for _, text := range o.values['k'] {
		keys = append(keys, p.sortKey(text, flags))
	}
	if len(keys) == 0 {
		keys = []sortKey{{field: 1, char: 1, flags: flags}}
	}
	end := byte('\n')
	if o.has("z") {
		end = 0
	}
	var lines []string
	p.each(o.operands, func(_ string, r io.Reader) error {
		return eachRecord(r, end, func(line string) bool {
			lines = append(lines, line)
			return true
		})
	})
	byKeys := func(a, b string) int {
		for _, k := range keys {
			if c := k.compare(a, b, o.value('t')); c != 0 {
				return c
			}
		}
		return 0
	}
	compare := func(a, b string) int {
		c := byKeys(a, b)
		if c == 0 && !o.has("su") {
			if c = strings.Compare(a, b); o.has("r") {
				c = -c
			}
		}
		return c
	}
	if o.has("c") {
		if !slices.IsSortedFunc(lines, compare) {
			p.die(1, "not sorted")
		}
		return
	}
	slices.SortStableFunc(lines, compare)
	if o.has("u") {
		lines = slices.CompactFunc(lines, func(a, b string) bool { return byKeys(a, b) == 0 })
	}
	p.writeLines(o.value('o'), lines, end)
}

// writeLines writes to the named file, which may have been an input, or to
// standard output.
func (p *process) writeLines(name string, lines []string, end byte) {
	if name == "" {
		for _, line := range lines {
			p.out.WriteString(line) //nolint:errcheck // brokenPipe panics instead
			p.out.WriteByte(end)    //nolint:errcheck
		}
		return
	}
	var text bytes.Buffer
	for _, line := range lines {
		text.WriteString(line)
		text.WriteByte(end)
	}
	p.must(os.WriteFile(p.path(name), text.Bytes(), 0o666))
}

func (p *process) sortKey(text, flags string) sortKey {
	var k sortKey
	start, end, both := strings.Cut(text, ",")
	var own, ownEnd string
	k.field, k.char, own = p.keyPosition(text, start)
	if both {
		k.endField, k.endChar, ownEnd = p.keyPosition(text, end)
	}
	if k.char == 0 {
		k.char = 1
	}
	k.flags = own + ownEnd
	if k.flags == "" {
		k.flags = flags
	}
	if strings.Trim(k.flags, "nrfb") != "" {
		p.die(2, "invalid key %q", text)
	}
	return k
}

func (p *process) keyPosition(key, text string) (field, char int, flags string) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzMRV")
	flags = text[len(digits):]
	first, second, both := strings.Cut(digits, ".")
	field, err := strconv.Atoi(first)
	if err == nil && both {
		char, err = strconv.Atoi(second)
	}
	if err != nil || field < 1 {
		p.die(2, "invalid key %q", key)
	}
	return field, char, flags
}

func (k sortKey) compare(a, b, separator string) int {
	a, b = k.extract(a, separator), k.extract(b, separator)
	if strings.Contains(k.flags, "b") {
		a, b = strings.TrimLeft(a, " \t"), strings.TrimLeft(b, " \t")
	}
	c := 0
	switch {
	case strings.Contains(k.flags, "n"):
		x, y := leadingNumber(a), leadingNumber(b)
		switch {
		case x < y:
			c = -1
		case x > y:
			c = 1
		}
	case strings.Contains(k.flags, "f"):
		c = strings.Compare(strings.ToUpper(a), strings.ToUpper(b))
	default:
		c = strings.Compare(a, b)
	}
	if strings.Contains(k.flags, "r") {
		return -c
	}
	return c
}

// extract returns the part of a line that the key covers. Without a separator
// a field starts with the blanks before it.
func (k sortKey) extract(line, separator string) string {
	if k.field == 1 && k.char == 1 && k.endField == 0 {
		return line
	}
	starts, ends := fields(line, separator)
	if k.field > len(starts) {
		return ""
	}
	from, to := min(starts[k.field-1]+k.char-1, len(line)), len(line)
	if k.endField > 0 && k.endField <= len(ends) {
		to = ends[k.endField-1]
		if k.endChar > 0 {
			to = min(starts[k.endField-1]+k.endChar, to)
		}
	}
	if to < from {
		return ""
	}
	return line[from:to]
}

func fields(line, separator string) (starts, ends []int) {
	at := 0
	for at <= len(line) {
		starts = append(starts, at)
		end := len(line)
		if separator != "" {
			if i := strings.Index(line[at:], separator); i >= 0 {
				end = at + i
			}
			ends = append(ends, end)
			at = end + len(separator)
			continue
		}
		i := at
		for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
			i++
		}
		for i < len(line) && line[i] != ' ' && line[i] != '\t' {
			i++
		}
		ends = append(ends, i)
		if at = i; i == len(line) {
			break
		}
	}
	return starts, ends
}

func leadingNumber(s string) float64 {
	s = strings.TrimLeft(s, " \t")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.' || end == 0 && s[end] == '-') {
		end++
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	if err != nil {
		return 0
	}
	return n
}
