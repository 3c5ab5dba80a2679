package main

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A finding is a file that find looks at.
type finding struct {
	name  string // as it is printed
	path  string
	info  fs.FileInfo
	depth int
	prune bool
}

type predicate func(f *finding) bool

// finder parses and runs find's expression.
type finder struct {
	p                  *process
	args               []string
	minDepth, maxDepth int
	depthFirst         bool
	acts               bool // the expression prints or runs something itself
	batches            []*batch
}

// A batch is -exec … {} +.
type batch struct {
	command []string
	names   []string
}

func find(p *process) {
	f := &finder{p: p, maxDepth: 1 << 30, args: p.args}
	var roots []string
	for len(f.args) > 0 && !strings.HasPrefix(f.args[0], "-") && f.args[0] != "(" && f.args[0] != "!" {
		roots = append(roots, f.args[0])
		f.args = f.args[1:]
	}
	if len(roots) == 0 {
		roots = []string{"."}
	}
	test := predicate(func(*finding) bool { return true })
	if len(f.args) > 0 {
		test = f.or()
	}
	if len(f.args) > 0 {
		p.die(1, "unexpected %q", f.args[0])
	}
	if !f.acts {
		inner := test
		test = func(at *finding) bool {
			if inner(at) {
				p.println(at.name)
			}
			return true
		}
	}
	for _, root := range roots {
		info, err := os.Lstat(p.path(root))
		if err != nil {
			p.complain(err)
			continue
		}
		f.walk(&finding{name: root, path: p.path(root), info: info}, test)
	}
	for _, b := range f.batches {
		f.exec(append(b.command, b.names...), len(b.names) > 0)
	}
}

func (f *finder) walk(at *finding, test predicate) {
	visit := func() {
		if at.depth >= f.minDepth {
			test(at)
		}
	}
	if !f.depthFirst {
		visit()
	}
	if at.info.IsDir() && at.depth < f.maxDepth && !at.prune {
		entries, err := os.ReadDir(at.path)
		f.p.complain(err)
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				f.p.complain(err)
				continue
			}
			name := strings.TrimSuffix(at.name, "/") + "/" + e.Name()
			f.walk(&finding{name: name, path: at.path + "/" + e.Name(), info: info, depth: at.depth + 1}, test)
		}
	}
	if f.depthFirst {
		visit()
	}
}

func (f *finder) or() predicate {
	left := f.and()
	for len(f.args) > 0 && (f.args[0] == "-o" || f.args[0] == "-or") {
		f.args = f.args[1:]
		a, b := left, f.and()
		left = func(at *finding) bool { return a(at) || b(at) }
	}
	return left
}

func (f *finder) and() predicate {
	left := f.not()
	for len(f.args) > 0 && f.args[0] != "-o" && f.args[0] != "-or" && f.args[0] != ")" {
		if f.args[0] == "-a" || f.args[0] == "-and" {
			f.args = f.args[1:]
		}
		a, b := left, f.not()
		left = func(at *finding) bool { return a(at) && b(at) }
	}
	return left
}

func (f *finder) not() predicate {
	word := f.next("expression")
	switch word {
	case "!", "-not":
		inner := f.not()
		return func(at *finding) bool { return !inner(at) }
	case "(":
		inner := f.or()
		if f.next(")") != ")" {
			f.p.die(1, "missing )")
		}
		return inner
	}
	return f.primary(word)
}

func (f *finder) next(what string) string {
	if len(f.args) == 0 {
		f.p.die(1, "missing %s", what)
	}
	word := f.args[0]
	f.args = f.args[1:]
	return word
}

func (f *finder) primary(word string) predicate {
	always := func(*finding) bool { return true }
	switch word {
	case "-maxdepth":
		f.maxDepth = f.number(word)
		return always
	case "-mindepth":
		f.minDepth = f.number(word)
		return always
	case "-depth":
		f.depthFirst = true
		return always
	case "-xdev", "-mount":
		f.p.die(1, "%s is not supported", word)
	case "-true":
		return always
	case "-name", "-iname", "-path":
		return f.pattern(word)
	case "-type":
		return f.kind()
	case "-perm":
		return f.permission()
	case "-size":
		return f.size()
	case "-newer":
		info, err := os.Stat(f.p.path(f.next("file after -newer")))
		f.p.must(err)
		return func(at *finding) bool { return at.info.ModTime().After(info.ModTime()) }
	case "-mtime":
		return f.age()
	case "-empty":
		return empty
	case "-user":
		uid, _ := f.p.owner(f.next("user"))
		return func(at *finding) bool { return int(at.info.Sys().(*syscall.Stat_t).Uid) == uid }
	case "-group":
		gid := f.p.group(f.next("group"))
		return func(at *finding) bool { return int(at.info.Sys().(*syscall.Stat_t).Gid) == gid }
	case "-prune":
		return func(at *finding) bool { at.prune = true; return true }
	}
	return f.action(word)
}

func (f *finder) action(word string) predicate {
	f.acts = true
	p := f.p
	switch word {
	case "-print":
		return func(at *finding) bool { p.println(at.name); return true }
	case "-print0":
		return func(at *finding) bool { p.printf("%s\x00", at.name); return true }
	case "-delete":
		f.depthFirst = true
		return func(at *finding) bool {
			if at.name == "." {
				return true
			}
			err := os.Remove(at.path)
			p.complain(err)
			return err == nil
		}
	case "-exec":
		return f.command()
	}
	p.die(1, "unknown predicate %q", word)
	return nil
}

func (f *finder) command() predicate {
	var words []string
	for {
		word := f.next("; after -exec")
		if word == ";" {
			break
		}
		if word == "+" && len(words) > 0 && words[len(words)-1] == "{}" {
			b := &batch{command: words[:len(words)-1]}
			f.batches = append(f.batches, b)
			return func(at *finding) bool { b.names = append(b.names, at.name); return true }
		}
		words = append(words, word)
	}
	return func(at *finding) bool {
		var command []string
		for _, word := range words {
			command = append(command, strings.ReplaceAll(word, "{}", at.name))
		}
		return f.exec(command, true)
	}
}

func (f *finder) exec(command []string, wanted bool) bool {
	if !wanted {
		return true
	}
	if len(command) == 0 {
		f.p.die(1, "-exec needs a command")
	}
	f.p.out.Flush() //nolint:errcheck // brokenPipe panics instead
	return f.p.start("find", command) == 0
}

func (f *finder) number(word string) int {
	n, err := strconv.Atoi(f.next("number after " + word))
	if err != nil {
		f.p.die(1, "%s needs a number", word)
	}
	return n
}

func (f *finder) pattern(word string) predicate {
	pattern := f.next("pattern after " + word)
	if _, err := path.Match(pattern, ""); err != nil {
		f.p.die(1, "invalid pattern %q", pattern)
	}
	return func(at *finding) bool {
		glob, name := pattern, filepath.Base(at.name)
		switch word {
		case "-iname":
			glob, name = strings.ToLower(glob), strings.ToLower(name)
		case "-path": // here "*" matches "/" too
			glob, name = strings.ReplaceAll(glob, "/", "\x01"), strings.ReplaceAll(at.name, "/", "\x01")
		}
		ok, _ := path.Match(glob, name) // the pattern was checked above
		return ok
	}
}

func (f *finder) kind() predicate {
	kinds := map[string]fs.FileMode{
		"f": 0, "d": fs.ModeDir, "l": fs.ModeSymlink, "p": fs.ModeNamedPipe, "s": fs.ModeSocket,
		"b": fs.ModeDevice, "c": fs.ModeDevice | fs.ModeCharDevice,
	}
	name := f.next("letter after -type")
	kind, ok := kinds[name]
	if !ok {
		f.p.die(1, "unknown type %q", name)
	}
	return func(at *finding) bool { return at.info.Mode().Type() == kind }
}

// permission is -perm MODE (equal), -MODE (all bits) and /MODE (any bit), octal.
func (f *finder) permission() predicate {
	text := f.next("mode after -perm")
	bits, err := strconv.ParseUint(strings.TrimLeft(text, "-/"), 8, 32)
	if err != nil {
		f.p.die(1, "mode %q is not octal", text)
	}
	return func(at *finding) bool {
		mode := uint64(at.info.Sys().(*syscall.Stat_t).Mode & 0o7777)
		switch text[0] {
		case '-':
			return mode&bits == bits
		case '/':
			return mode&bits != 0 || bits == 0
		default:
			return mode == bits
		}
	}
}

func (f *finder) size() predicate {
	text := f.next("size after -size")
	units := map[byte]int64{'c': 1, 'k': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'b': 512}
	if text == "" {
		f.p.die(1, "-size needs a number")
	}
	unit, ok := units[text[len(text)-1]]
	digits := text
	if ok {
		digits = text[:len(text)-1]
	} else {
		unit = 512
	}
	compare := f.comparison(digits)
	return func(at *finding) bool { return compare((at.info.Size() + unit - 1) / unit) }
}

func (f *finder) age() predicate {
	compare := f.comparison(f.next("days after -mtime"))
	now := time.Now()
	return func(at *finding) bool { return compare(int64(now.Sub(at.info.ModTime()) / (24 * time.Hour))) }
}

// comparison reads N, +N (more) or -N (less).
func (f *finder) comparison(text string) func(int64) bool {
	n, err := strconv.ParseInt(strings.TrimLeft(text, "+-"), 10, 64)
	if err != nil {
		f.p.die(1, "%q is not a number", text)
	}
	switch text[0] {
	case '+':
		return func(x int64) bool { return x > n }
	case '-':
		return func(x int64) bool { return x < n }
	}
	return func(x int64) bool { return x == n }
}

func empty(at *finding) bool {
	if at.info.Mode().IsRegular() {
		return at.info.Size() == 0
	}
	if !at.info.IsDir() {
		return false
	}
	entries, err := os.ReadDir(at.path)
	return err == nil && len(entries) == 0
}
