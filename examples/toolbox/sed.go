package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
)

func sed(p *process) {
	inPlace, suffix := sedInPlace(p)
	o := p.options("nErse:f:", map[string]byte{
		"quiet": 'n', "silent": 'n', "regexp-extended": 'E', "expression": 'e', "file": 'f', "separate": 's',
	})
	var script []string
	script = append(script, o.values['e']...)
	for _, name := range o.values['f'] {
		data, err := os.ReadFile(p.path(name))
		p.must(err)
		script = append(script, strings.TrimSuffix(string(data), "\n"))
	}
	if !o.has("ef") {
		script = []string{o.split()}
	}
	parser := &sedParser{in: strings.Join(script, "\n"), extended: o.has("Er")}
	commands, err := parser.parse()
	if err != nil {
		p.die(2, "%v", err)
	}
	e := &editor{p: p, quiet: o.has("n"), commands: commands, out: p.out}
	switch {
	case inPlace:
		o.need(1)
		for _, name := range o.operands {
			p.complain(e.file(p.path(name), suffix))
		}
	case o.has("s"):
		p.each(o.operands, func(_ string, r io.Reader) error { return e.edit(r) })
	default:
		var all []io.Reader
		if len(o.operands) == 0 {
			all = []io.Reader{p.in}
		}
		for _, name := range o.operands {
			r, err := p.open(name)
			if err != nil {
				p.complain(err)
				continue
			}
			defer r.Close() // opened for reading
			all = append(all, r)
		}
		p.complain(e.edit(io.MultiReader(all...)))
	}
	if e.status != 0 {
		p.status = e.status
	}
}

// sedInPlace takes -i, -iSUFFIX, -Ei and --in-place[=SUFFIX] off the command line.
func sedInPlace(p *process) (found bool, suffix string) {
	var args []string
	for i, arg := range p.args {
		letters := strings.TrimLeft(arg, "nErs-")
		switch {
		case arg == "--":
			p.args = append(args, p.args[i:]...)
			return found, suffix
		case arg == "--in-place":
			found = true
		case strings.HasPrefix(arg, "--in-place="):
			found, suffix = true, strings.TrimPrefix(arg, "--in-place=")
		case strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && strings.HasPrefix(letters, "i"):
			found, suffix = true, letters[1:]
			if rest := strings.TrimSuffix(arg, letters); rest != "-" {
				args = append(args, rest)
			}
		default:
			args = append(args, arg)
		}
	}
	p.args = args
	return found, suffix
}

// An editor runs a script over lines.
type editor struct {
	p        *process
	quiet    bool
	commands []*sedCommand
	out      *bufio.Writer

	in      *bufio.Reader
	number  int
	newline bool // the line read last had one
	pattern string
	hold    string
	later   []string // text to print after the line, by a
	restart bool     // D: go on without reading
	stop    bool
	status  int
}

// file edits a file in place; a suffix names the copy that stays.
func (e *editor) file(path, suffix string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if suffix != "" {
		if err := os.WriteFile(path+suffix, data, info.Mode().Perm()); err != nil {
			return err
		}
	}
	var edited bytes.Buffer
	e.out = bufio.NewWriter(&edited)
	e.number, e.stop = 0, false
	if err := e.edit(bytes.NewReader(data)); err != nil {
		return err
	}
	if e.stop { // what q left unread stays
		if _, err := io.Copy(e.out, e.in); err != nil {
			return err
		}
	}
	if err := e.out.Flush(); err != nil {
		return err
	}
	return os.WriteFile(path, edited.Bytes(), info.Mode().Perm())
}

func (e *editor) edit(r io.Reader) error {
	e.in = bufio.NewReaderSize(r, 64<<10)
	for !e.stop {
		if !e.restart {
			line, ok, err := e.read()
			if err != nil || !ok {
				return err
			}
			e.pattern = line
		}
		e.restart = false
		if e.run(e.commands) && !e.quiet {
			e.print(e.pattern)
		}
		e.flushLater()
	}
	return nil
}

func (e *editor) read() (line string, ok bool, err error) {
	line, err = e.in.ReadString('\n')
	if err != nil && err != io.EOF {
		return "", false, err
	}
	if line == "" {
		return "", false, nil
	}
	e.number++
	text := strings.TrimSuffix(line, "\n")
	e.newline = len(text) < len(line)
	return text, true, nil
}

func (e *editor) isLast() bool {
	_, err := e.in.Peek(1)
	return err != nil
}

// print writes a line; the last one of a file keeps its missing newline.
func (e *editor) print(line string) {
	e.out.WriteString(line) //nolint:errcheck // flushed by the caller
	if e.newline || !e.isLast() {
		e.out.WriteByte('\n') //nolint:errcheck
	}
}

func (e *editor) flushLater() {
	for _, text := range e.later {
		e.out.WriteString(text + "\n") //nolint:errcheck // flushed by the caller
	}
	e.later = nil
}

// run executes commands and tells whether the pattern is to be printed.
func (e *editor) run(commands []*sedCommand) bool {
	for _, c := range commands {
		if e.selects(c) == c.negate {
			continue
		}
		if print, done := e.execute(c); done {
			return print
		}
	}
	return true
}

func (e *editor) selects(c *sedCommand) bool {
	switch {
	case c.from == nil:
		return true
	case c.to == nil:
		return e.at(c.from)
	case c.active:
		switch {
		case c.to.kind == '/':
			c.active = !c.to.re.MatchString(e.pattern)
		case c.to.kind == '$':
			c.active = !e.isLast()
		default:
			c.active = e.number < c.until
			return e.number <= c.until
		}
		return true
	case !e.at(c.from):
		return false
	}
	switch c.to.kind {
	case 'n':
		c.until = c.to.n
	case '+':
		c.until = e.number + c.to.n
	}
	c.active = c.to.kind == '/' || c.to.kind == '$' && !e.isLast() || c.until > e.number
	return true
}

func (e *editor) at(a *sedAddress) bool {
	switch a.kind {
	case 'n':
		return e.number == a.n
	case '$':
		return e.isLast()
	default:
		return a.re.MatchString(e.pattern)
	}
}

// execute runs one command. done means that the cycle ends, and print whether
// the pattern is printed then.
func (e *editor) execute(c *sedCommand) (print, done bool) {
	switch c.name {
	case '{':
		before := e.stop
		print = e.run(c.block)
		return print, !print || e.restart || e.stop != before
	case 's':
		e.substitute(c)
	case 'y':
		e.pattern = c.table.Replace(e.pattern)
	case 'p':
		e.out.WriteString(e.pattern + "\n") //nolint:errcheck // flushed by the caller
	case 'P':
		line, _, _ := strings.Cut(e.pattern, "\n")
		e.out.WriteString(line + "\n") //nolint:errcheck
	case '=':
		e.out.WriteString(strconv.Itoa(e.number) + "\n") //nolint:errcheck
	case 'a':
		e.later = append(e.later, c.text)
	case 'i':
		e.out.WriteString(c.text + "\n") //nolint:errcheck
	case 'c':
		if c.to == nil || !c.active || c.negate {
			e.out.WriteString(c.text + "\n") //nolint:errcheck
		}
		return false, true
	case 'd':
		return false, true
	case 'D':
		_, rest, more := strings.Cut(e.pattern, "\n")
		e.pattern, e.restart = rest, more
		return false, true
	case 'q':
		e.stop = true
		e.status, _ = strconv.Atoi(c.text) // the parser let only digits through
		return true, true
	case 'n', 'N':
		return e.more(c.name)
	case 'h':
		e.hold = e.pattern
	case 'H':
		e.hold += "\n" + e.pattern
	case 'g':
		e.pattern = e.hold
	case 'G':
		e.pattern += "\n" + e.hold
	case 'x':
		e.pattern, e.hold = e.hold, e.pattern
	}
	return true, false
}

// more is n and N: replace the pattern by the next line, or add it. Without a
// next line the script ends.
func (e *editor) more(name byte) (print, done bool) {
	if e.isLast() {
		e.stop = true
		return true, true
	}
	if name == 'n' && !e.quiet {
		e.print(e.pattern)
	}
	e.flushLater()
	line, _, err := e.read()
	if err != nil {
		e.p.complain(err)
		e.stop = true
		return true, true
	}
	if name == 'N' {
		line = e.pattern + "\n" + line
	}
	e.pattern = line
	return true, false
}

func (e *editor) substitute(c *sedCommand) {
	var edited strings.Builder
	end, count := 0, 0
	for _, match := range c.re.FindAllStringSubmatchIndex(e.pattern, -1) {
		count++
		if count < c.nth || count > c.nth && !c.all {
			continue
		}
		edited.WriteString(e.pattern[end:match[0]])
		for _, part := range c.with {
			switch {
			case part.group < 0:
				edited.WriteString(part.text)
			case match[2*part.group] >= 0:
				edited.WriteString(e.pattern[match[2*part.group]:match[2*part.group+1]])
			}
		}
		end = match[1]
	}
	if count < c.nth {
		return
	}
	edited.WriteString(e.pattern[end:])
	e.pattern = edited.String()
	if c.print {
		e.out.WriteString(e.pattern + "\n") //nolint:errcheck // flushed by the caller
	}
}
