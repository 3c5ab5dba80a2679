package source

import (
	"fmt"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
)

// ignore decides what of a context does not exist, by docker's rules: patterns
// are asked in order, one that matched a directory matches all in it, and the
// last one that matches wins, with "!" for the file.
//
// Most patterns are matched here, because a regular expression for each of
// 50,000 paths costs more than looking at them. Where one of them is unusual, all
// are left to docker's own matcher, whose results are the same.
type ignore struct {
	patterns []pattern
	texts    []string
	// exceptions are the patterns with "!", without it and with a slash. plain says
	// that text tells where they can match.
	exceptions []string
	plain      bool

	usual    bool
	matchers sync.Pool // a matcher serves one goroutine at a time
}

// matched is what is known of a directory: which patterns matched it.
type matched struct {
	own   []bool
	other patternmatcher.MatchInfo
}

func newIgnore(texts []string) (*ignore, error) {
	m, err := patternmatcher.New(texts)
	if err != nil {
		return nil, fmt.Errorf("ignore patterns: %w", err)
	}
	if len(m.Patterns()) == 0 {
		return nil, nil
	}
	g := &ignore{texts: texts, plain: true, usual: true}
	for _, p := range m.Patterns() {
		own, ok := compile(p.String())
		own.except = p.Exclusion()
		g.usual = g.usual && ok
		g.patterns = append(g.patterns, own)
		if own.except {
			text := strings.TrimSuffix(strings.TrimSuffix(p.String(), "**"), "/")
			g.exceptions = append(g.exceptions, text+"/")
			g.plain = g.plain && !strings.ContainsAny(text, `*[]?^\`)
		}
	}
	return g, nil
}

// matches reports whether the path is excluded. dir is what is known of the
// directory that it is in; found is the same for the path, and nil unless it was asked for.
func (g *ignore) matches(path string, dir *matched, ask bool) (excluded bool, found *matched, err error) {
	if !g.usual {
		return g.matchSlowly(path, dir)
	}
	if ask {
		found = &matched{own: make([]bool, len(g.patterns))}
	}
	for i := range g.patterns {
		p := &g.patterns[i]
		hit := dir != nil && dir.own[i]
		if !hit {
			if p.except != excluded {
				continue
			}
			hit = p.match(path)
		}
		if ask {
			found.own[i] = hit
		}
		if hit {
			excluded = !p.except
		}
	}
	return excluded, found, nil
}

// matchSlowly is matches by docker's matcher.
func (g *ignore) matchSlowly(path string, dir *matched) (bool, *matched, error) {
	m, ok := g.matchers.Get().(*patternmatcher.PatternMatcher)
	if !ok {
		var err error
		if m, err = patternmatcher.New(g.texts); err != nil {
			return false, nil, err
		}
	}
	defer g.matchers.Put(m)
	var above patternmatcher.MatchInfo
	if dir != nil {
		above = dir.other
	}
	excluded, found, err := m.MatchesUsingParentResults(path, above)
	if err != nil {
		return false, nil, fmt.Errorf("ignore patterns: %w", err)
	}
	return excluded, &matched{other: found}, nil
}

// reaches reports whether something in the excluded directory dir can be
// excepted.
func (g *ignore) reaches(dir string) bool {
	if len(g.exceptions) == 0 {
		return false
	}
	if !g.plain {
		return true
	}
	for _, p := range g.exceptions {
		if strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}

// pattern is a usual pattern: plain text, and the wildcards "*" for any part of
// a name and "**" for any number of directories.
type pattern struct {
	except bool
	kind   patternKind
	text   string // of exact, prefix and suffix
	tokens []token
}

type patternKind uint8

const (
	exact    patternKind = iota
	prefix               // text, then anything
	suffix               // anything, then text; or text without its leading slash
	wildcard             // tokens
)

// token is a part of a pattern.
type token struct {
	kind tokenKind
	text string // of literal
}

type tokenKind uint8

const (
	literal  tokenKind = iota
	anyName            // [^/]*
	anyDirs            // (.*/)?
	anything           // .*
)

// maxStars bounds the ways in which a pattern can be tried on a path.
const maxStars = 4

// compile reads a cleaned pattern; ok is false for an unusual one. Whether "**"
// at the start or the end means any text or any directories depends, as with
// docker, on what else is in the pattern.
func compile(text string) (p pattern, ok bool) {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' || c >= 0x7f || strings.IndexByte(`[]\?^{}|`, c) >= 0 {
			return p, false
		}
	}
	stars := strings.Count(text, "*")
	switch {
	case stars > maxStars:
		return p, false
	case stars == 0:
		return pattern{kind: exact, text: text}, true
	case stars == 2 && strings.HasPrefix(text, "**"):
		return pattern{kind: suffix, text: text[2:]}, true
	case stars == 2 && strings.HasSuffix(text, "**"):
		return pattern{kind: prefix, text: text[:len(text)-2]}, true
	}
	for rest := text; rest != ""; {
		i := strings.IndexByte(rest, '*')
		if i < 0 {
			i = len(rest)
		}
		if i > 0 {
			p.tokens = append(p.tokens, token{literal, rest[:i]})
		}
		rest = rest[i:]
		switch {
		case strings.HasPrefix(rest, "**"):
			rest = strings.TrimPrefix(rest[2:], "/")
			kind := anyDirs
			if rest == "" {
				kind = anything
			}
			p.tokens = append(p.tokens, token{kind: kind})
		case rest != "":
			rest = rest[1:]
			p.tokens = append(p.tokens, token{kind: anyName})
		}
	}
	p.kind = wildcard
	return p, true
}

func (p *pattern) match(path string) bool {
	switch p.kind {
	case exact:
		return path == p.text
	case prefix:
		return strings.HasPrefix(path, p.text)
	case suffix:
		return strings.HasSuffix(path, p.text) || p.text[0] == '/' && path == p.text[1:]
	}
	// Most paths fail at the end of the pattern already.
	if last := p.tokens[len(p.tokens)-1]; last.kind == literal && !strings.HasSuffix(path, last.text) {
		return false
	}
	return matchTokens(p.tokens, path)
}

func matchTokens(tokens []token, path string) bool {
	for i, t := range tokens {
		rest := tokens[i+1:]
		switch t.kind {
		case literal:
			after, ok := strings.CutPrefix(path, t.text)
			if !ok {
				return false
			}
			path = after
		case anyName:
			for n := 0; !matchTokens(rest, path[n:]); n++ {
				if n == len(path) || path[n] == '/' {
					return false
				}
			}
			return true
		case anyDirs:
			// The dot of a regular expression matches no line end.
			for n := 0; !matchTokens(rest, path[n:]); {
				next := strings.IndexAny(path[n:], "/\n")
				if next < 0 || path[n+next] == '\n' {
					return false
				}
				n += next + 1
			}
			return true
		case anything:
			return !strings.Contains(path, "\n")
		}
	}
	return path == ""
}
