package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

func cat(p *process) {
	o := p.options("nu", map[string]byte{"number": 'n'})
	line := 0
	p.each(o.operands, func(_ string, r io.Reader) error {
		if !o.has("n") {
			p.out.Flush() //nolint:errcheck // brokenPipe panics instead
			_, err := io.Copy(brokenPipe{p.stdout}, r)
			return err
		}
		return eachLine(r, func(text string) bool {
			line++
			p.printf("%6d\t%s\n", line, text)
			return true
		})
	})
}

func tee(p *process) {
	o := p.options("a", map[string]byte{"append": 'a'})
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if o.has("a") {
		flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	writers := []io.Writer{brokenPipe{p.stdout}}
	for _, name := range o.operands {
		f, err := os.OpenFile(p.path(name), flags, 0o666)
		if err != nil {
			p.complain(err)
			continue
		}
		defer func() { p.complain(f.Close()) }()
		writers = append(writers, f)
	}
	_, err := io.Copy(io.MultiWriter(writers...), p.in)
	p.complain(err)
}

// countArgument lets head and tail take "-5" for "-n 5".
func (p *process) countArgument() {
	if len(p.args) > 0 && len(p.args[0]) > 1 && p.args[0][0] == '-' && isNumber(p.args[0][1:]) {
		p.args = append([]string{"-n", p.args[0][1:]}, p.args[1:]...)
	}
}

func head(p *process) {
	p.countArgument()
	o := p.options("n:c:qv", map[string]byte{"lines": 'n', "bytes": 'c', "quiet": 'q', "verbose": 'v'})
	limit, size := o.number('n', 10), o.number('c', -1)
	if limit < 0 || o.has("c") && size < 0 {
		p.die(2, "counts from the end are not supported")
	}
	o.withHeaders(func(r io.Reader) error {
		if o.has("c") {
			_, err := io.CopyN(p.out, r, size)
			return notEOF(err)
		}
		b := bufio.NewReader(r)
		for range limit {
			line, err := b.ReadBytes('\n')
			p.out.Write(line) //nolint:errcheck // brokenPipe panics instead
			if err != nil {
				return notEOF(err)
			}
		}
		return nil
	})
}

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// withHeaders calls do with each file, under a header if there are several.
func (o *options) withHeaders(do func(r io.Reader) error) {
	headers := (len(o.operands) > 1 || o.has("v")) && !o.has("q")
	first := true
	o.p.each(o.operands, func(name string, r io.Reader) error {
		if headers {
			if !first {
				o.p.println("")
			}
			o.p.printf("==> %s <==\n", name)
		}
		first = false
		return do(r)
	})
}

func tail(p *process) {
	p.countArgument()
	o := p.options("n:c:fqv", map[string]byte{"lines": 'n', "bytes": 'c', "follow": 'f', "quiet": 'q', "verbose": 'v'})
	count, unit := o.value('n'), byte('\n')
	if o.has("c") {
		count, unit = o.value('c'), 0
	}
	if count == "" {
		count = "10"
	}
	n, err := strconv.ParseInt(strings.TrimLeft(count, "+-"), 10, 64)
	if err != nil {
		p.die(2, "%q is not a number", count)
	}
	o.withHeaders(func(r io.Reader) error {
		var err error
		if count[0] == '+' {
			err = p.tailFrom(r, n, unit)
		} else {
			err = p.tailLast(r, n, unit)
		}
		if err == nil && o.has("f") {
			err = p.follow(r)
		}
		return err
	})
}

// tailFrom prints from the nth line or byte on.
func (p *process) tailFrom(r io.Reader, n int64, unit byte) error {
	if unit == 0 {
		if _, err := io.CopyN(io.Discard, r, n-1); err != nil {
			return notEOF(err)
		}
		_, err := io.Copy(p.out, r)
		return err
	}
	b := bufio.NewReader(r)
	for i := int64(1); i < n; i++ {
		if _, err := b.ReadBytes('\n'); err != nil {
			return notEOF(err)
		}
	}
	_, err := io.Copy(p.out, b)
	return err
}

// tailLast prints the last n lines or bytes, of which it keeps no more.
func (p *process) tailLast(r io.Reader, n int64, unit byte) error {
	var lines [][]byte
	b := bufio.NewReader(r)
	if unit == 0 {
		data, err := io.ReadAll(b)
		p.out.Write(data[max(0, int64(len(data))-n):]) //nolint:errcheck // brokenPipe panics instead
		return err
	}
	for {
		line, err := b.ReadBytes('\n')
		if len(line) > 0 {
			lines = append(lines, line)
			if int64(len(lines)) > n {
				lines = lines[1:]
			}
		}
		if err != nil {
			for _, line := range lines {
				p.out.Write(line) //nolint:errcheck // brokenPipe panics instead
			}
			return notEOF(err)
		}
	}
}

// follow prints what is appended to r until the tool is stopped.
func (p *process) follow(r io.Reader) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.Copy(p.out, r); err != nil {
			return err
		}
		p.out.Flush() //nolint:errcheck // brokenPipe panics instead
		select {
		case <-p.ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func wc(p *process) {
	o := p.options("lwcm", map[string]byte{"lines": 'l', "words": 'w', "bytes": 'c', "chars": 'm'})
	if len(o.values) == 0 {
		o.add('l', "")
		o.add('w', "")
		o.add('c', "")
	}
	total := map[byte]int{}
	show := func(counts map[byte]int, name string) {
		var words []string
		for _, c := range "lwmc" {
			if o.has(string(c)) {
				words = append(words, strconv.Itoa(counts[byte(c)]))
			}
		}
		if name != "-" {
			words = append(words, name)
		}
		p.println(strings.Join(words, " "))
	}
	p.each(o.operands, func(name string, r io.Reader) error {
		counts, err := count(r)
		if err != nil {
			return err
		}
		for c, n := range counts {
			total[c] += n
		}
		show(counts, name)
		return nil
	})
	if len(o.operands) > 1 {
		show(total, "total")
	}
}

func count(r io.Reader) (map[byte]int, error) {
	counts := map[byte]int{}
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadBytes('\n')
		counts['c'] += len(line)
		counts['m'] += utf8.RuneCount(line)
		counts['w'] += len(bytes.Fields(line))
		counts['l'] += bytes.Count(line, []byte{'\n'})
		if err != nil {
			return counts, notEOF(err)
		}
	}
}

func uniq(p *process) {
	o := p.options("cdui", map[string]byte{"count": 'c', "repeated": 'd', "unique": 'u', "ignore-case": 'i'})
	last, times := "", 0
	show := func() {
		switch {
		case times == 0, o.has("d") && times == 1, o.has("u") && times > 1:
		case o.has("c"):
			p.printf("%7d %s\n", times, last)
		default:
			p.println(last)
		}
	}
	if len(o.operands) > 1 {
		p.die(2, "too many operands")
	}
	p.each(o.operands, func(_ string, r io.Reader) error {
		return eachLine(r, func(line string) bool {
			if times > 0 && (line == last || o.has("i") && strings.EqualFold(line, last)) {
				times++
				return true
			}
			show()
			last, times = line, 1
			return true
		})
	})
	show()
}

func cut(p *process) {
	o := p.options("d:f:c:b:sO:", map[string]byte{"delimiter": 'd', "fields": 'f', "characters": 'c', "bytes": 'b', "only-delimited": 's', "output-delimiter": 'O'})
	delimiter := "\t"
	if o.has("d") {
		delimiter = o.value('d')
	}
	glue := delimiter
	if o.has("O") {
		glue = o.value('O')
	}
	list := o.value('f') + o.value('c') + o.value('b')
	if list == "" {
		p.die(2, "one of -f, -c and -b is needed")
	}
	wanted := p.ranges(list)
	p.each(o.operands, func(_ string, r io.Reader) error {
		return eachLine(r, func(line string) bool {
			switch {
			case o.has("b"):
				p.println(pick(singles(line), wanted, ""))
			case o.has("c"):
				p.println(pick(strings.Split(line, ""), wanted, ""))
			case !strings.Contains(line, delimiter):
				if !o.has("s") {
					p.println(line)
				}
			default:
				p.println(pick(strings.Split(line, delimiter), wanted, glue))
			}
			return true
		})
	})
}

// singles splits s into its bytes.
func singles(s string) []string {
	parts := make([]string, len(s))
	for i := range len(s) {
		parts[i] = s[i : i+1]
	}
	return parts
}

func pick(parts []string, wanted func(int) bool, glue string) string {
	var chosen []string
	for i, part := range parts {
		if wanted(i + 1) {
			chosen = append(chosen, part)
		}
	}
	return strings.Join(chosen, glue)
}

// ranges reads cut's lists, such as 1,3-5,7-.
func (p *process) ranges(list string) func(int) bool {
	type span struct{ from, to int }
	var spans []span
	for part := range strings.SplitSeq(list, ",") {
		low, high, dash := strings.Cut(part, "-")
		s := span{1, int(^uint(0) >> 1)}
		var err1, err2 error
		if low != "" {
			s.from, err1 = strconv.Atoi(low)
		}
		if high != "" {
			s.to, err2 = strconv.Atoi(high)
		}
		if !dash {
			s.to = s.from
		}
		if errors.Join(err1, err2) != nil || part == "" || part == "-" || s.from < 1 {
			p.die(2, "invalid list %q", list)
		}
		spans = append(spans, s)
	}
	return func(n int) bool {
		for _, s := range spans {
			if s.from <= n && n <= s.to {
				return true
			}
		}
		return false
	}
}

func tr(p *process) {
	o := p.options("+dscC", map[string]byte{"delete": 'd', "squeeze-repeats": 's', "complement": 'c'})
	o.need(1)
	from, to := p.charset(o.operands[0]), []byte(nil)
	if o.has("cC") {
		from = complement(from)
	}
	if len(o.operands) > 1 {
		to = p.charset(o.operands[1])
	}
	if !o.has("ds") && len(to) == 0 {
		p.die(2, "missing operand")
	}
	table := translation(from, to)
	var in, squeeze [256]bool
	for _, c := range from {
		in[c] = true
	}
	squeezed := to
	if len(to) == 0 {
		squeezed = from
	}
	for _, c := range squeezed {
		squeeze[c] = o.has("s")
	}
	r, last := bufio.NewReader(p.in), -1
	for {
		c, err := r.ReadByte()
		if err != nil {
			p.complain(notEOF(err))
			return
		}
		if o.has("d") && in[c] {
			continue
		}
		if !o.has("d") {
			c = table[c]
		}
		if squeeze[c] && last == int(c) {
			continue
		}
		last = int(c)
		p.out.WriteByte(c) //nolint:errcheck // brokenPipe panics instead
	}
}

func translation(from, to []byte) (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
	}
	for i, c := range from {
		if len(to) > 0 {
			table[c] = to[min(i, len(to)-1)]
		}
	}
	return table
}

func complement(set []byte) []byte {
	var rest []byte
	for c := range 256 {
		if bytes.IndexByte(set, byte(c)) < 0 {
			rest = append(rest, byte(c))
		}
	}
	return rest
}

// charset reads tr's notation: ranges, classes and escapes.
func (p *process) charset(text string) []byte {
	var set []byte
	for text != "" {
		if strings.HasPrefix(text, "[:") {
			if name, rest, ok := strings.Cut(text[2:], ":]"); ok {
				set = append(set, p.class(name)...)
				text = rest
				continue
			}
		}
		var low byte
		low, text = unescape(text)
		if len(text) < 2 || text[0] != '-' {
			set = append(set, low)
			continue
		}
		var high byte
		high, text = unescape(text[1:])
		if high < low {
			p.die(2, "range ends before it starts")
		}
		for c := int(low); c <= int(high); c++ {
			set = append(set, byte(c))
		}
	}
	return set
}

func unescape(text string) (byte, string) {
	if text[0] != '\\' || len(text) == 1 {
		return text[0], text[1:]
	}
	digits := 0
	for digits < 3 && 1+digits < len(text) && '0' <= text[1+digits] && text[1+digits] <= '7' {
		digits++
	}
	if digits > 0 {
		n, _ := strconv.ParseUint(text[1:1+digits], 8, 16)
		return byte(n), text[1+digits:]
	}
	if at := strings.IndexByte("abfnrtv", text[1]); at >= 0 {
		return "\a\b\f\n\r\t\v"[at], text[2:]
	}
	return text[1], text[2:]
}

func (p *process) class(name string) []byte {
	members := map[string]string{
		"lower": "abcdefghijklmnopqrstuvwxyz", "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		"digit": "0123456789", "xdigit": "0123456789ABCDEFabcdef", "blank": "\t ", "space": "\t\n\v\f\r ",
		"punct": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
	}
	members["alpha"] = members["upper"] + members["lower"]
	members["alnum"] = members["digit"] + members["alpha"]
	members["graph"] = members["alnum"] + members["punct"]
	members["print"] = " " + members["graph"]
	for c := range 32 {
		members["cntrl"] += string(rune(c))
	}
	set, ok := members[name]
	if !ok {
		p.die(2, "unknown class %q", name)
	}
	return []byte(set)
}

// randomName returns n characters fit for a file name.
func randomName(n int) string {
	return (rand.Text() + rand.Text())[:min(n, 52)]
}
