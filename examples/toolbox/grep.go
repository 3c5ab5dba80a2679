package main

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func grep(p *process) {
	o := p.options("EFGivnclLoqsrRhHwxe:f:m:", map[string]byte{
		"extended-regexp": 'E', "fixed-strings": 'F', "basic-regexp": 'G', "ignore-case": 'i', "invert-match": 'v',
		"line-number": 'n', "count": 'c', "files-with-matches": 'l', "files-without-match": 'L', "only-matching": 'o',
		"quiet": 'q', "silent": 'q', "no-messages": 's', "recursive": 'r', "no-filename": 'h', "with-filename": 'H',
		"word-regexp": 'w', "line-regexp": 'x', "regexp": 'e', "file": 'f', "max-count": 'm',
	})
	if p.name == "egrep" {
		o.add('E', "")
	}
	if p.name == "fgrep" {
		o.add('F', "")
	}
	s := &search{o: o, limit: o.number('m', -1)}
	s.patterns()
	if o.has("s") {
		p.err = io.Discard
	}
	names := o.operands
	if o.has("rR") {
		if len(names) == 0 {
			names = []string{"."}
		}
		names = p.filesBelow(names)
		if len(names) == 0 {
			p.status = 1
			return
		}
	}
	s.names = (len(names) > 1 || o.has("rRH")) && !o.has("h")
	p.each(names, func(name string, r io.Reader) error { return s.file(p, name, r) })
	switch {
	case s.found && (o.has("q") || p.status == 0):
		p.status = 0
	case p.status != 0:
		p.status = 2
	default:
		p.status = 1
	}
}

// filesBelow returns the regular files in the named trees, sorted.
func (p *process) filesBelow(names []string) []string {
	var files []string
	for _, name := range names {
		root := p.path(name)
		p.complain(filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				p.complain(err)
				return nil
			}
			if entry.Type().IsRegular() || path == root && !entry.IsDir() {
				files = append(files, below(name, root, path))
			}
			return nil
		}))
	}
	return files
}

type search struct {
	o     *options
	any   []*regexp.Regexp
	limit int64
	names bool // lines are shown with their file's name
	found bool
}

func (s *search) patterns() {
	p := s.o.p
	var list []string
	for _, text := range s.o.values['e'] {
		list = append(list, strings.Split(text, "\n")...)
	}
	for _, name := range s.o.values['f'] {
		data, err := os.ReadFile(p.path(name))
		if err != nil {
			p.die(2, "%s", plain(err))
		}
		if text := strings.TrimSuffix(string(data), "\n"); text != "" {
			list = append(list, strings.Split(text, "\n")...)
		}
	}
	if !s.o.has("ef") {
		list = strings.Split(s.o.split(), "\n")
	}
	for _, text := range list {
		re, err := s.compile(text)
		if err != nil {
			p.die(2, "%v", err)
		}
		s.any = append(s.any, re)
	}
}

func (s *search) compile(text string) (*regexp.Regexp, error) {
	var re *regexp.Regexp
	var err error
	if s.o.has("F") {
		text = regexp.QuoteMeta(text)
	} else {
		if re, err = compile(text, s.o.has("E"), false); err != nil {
			return nil, err
		}
		text = re.String()
	}
	if s.o.has("w") {
		text = `\b(?:` + text + `)\b`
	}
	if s.o.has("x") {
		text = `^(?:` + text + `)$`
	}
	if s.o.has("i") {
		text = "(?i)" + text
	}
	if re, err = regexp.Compile(text); err == nil {
		re.Longest()
	}
	return re, err
}

func (s *search) matches(line string) bool {
	hit := slices.ContainsFunc(s.any, func(re *regexp.Regexp) bool { return re.MatchString(line) })
	return hit != s.o.has("v")
}

func (s *search) file(p *process, name string, r io.Reader) error {
	number, hits := 0, 0
	if name == "-" {
		name = "(standard input)"
	}
	err := eachLine(r, func(line string) bool {
		number++
		if !s.matches(line) {
			return true
		}
		hits++
		s.found = true
		if s.o.has("q") {
			return false
		}
		if !s.o.has("clL") {
			s.show(p, name, number, line)
		}
		return int64(hits) != s.limit && !s.o.has("lL")
	})
	switch {
	case s.o.has("q"):
	case s.o.has("c") && s.names:
		p.printf("%s:%d\n", name, hits)
	case s.o.has("c"):
		p.printf("%d\n", hits)
	case s.o.has("l") && hits > 0, s.o.has("L") && hits == 0:
		p.println(name)
	}
	return err
}

func (s *search) show(p *process, name string, number int, line string) {
	parts := []string{line}
	if s.o.has("o") {
		parts = nil
		for _, re := range s.any {
			for _, part := range re.FindAllString(line, -1) {
				if part != "" && !s.o.has("v") {
					parts = append(parts, part)
				}
			}
		}
	}
	for _, part := range parts {
		if s.names {
			p.printf("%s:", name)
		}
		if s.o.has("n") {
			p.printf("%d:", number)
		}
		p.println(part)
	}
}
