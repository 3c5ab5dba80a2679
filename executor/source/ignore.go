package source

import (
	"fmt"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
)

// ignore decides what of a context does not exist, by docker's rules: the last
// pattern that matches a path or a directory above it wins.
type ignore struct {
	patterns []string
	// exceptions are the patterns with "!", without it. plain says that none of
	// them has wildcards but for a trailing "**", so that text tells where they can match.
	exceptions []string
	plain      bool
	matchers   sync.Pool // a matcher serves one goroutine at a time
}

func newIgnore(patterns []string) (*ignore, error) {
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("ignore patterns: %w", err)
	}
	if len(m.Patterns()) == 0 {
		return nil, nil
	}
	g := &ignore{patterns: patterns, plain: true}
	for _, p := range m.Patterns() {
		if !p.Exclusion() {
			continue
		}
		text := strings.TrimSuffix(strings.TrimSuffix(p.String(), "**"), "/")
		g.exceptions = append(g.exceptions, text+"/")
		g.plain = g.plain && !strings.ContainsAny(text, `*[]?^\`)
	}
	g.matchers.Put(m)
	return g, nil
}

// matcher borrows a matcher; give it back to matchers.
func (g *ignore) matcher() *patternmatcher.PatternMatcher {
	if m, ok := g.matchers.Get().(*patternmatcher.PatternMatcher); ok {
		return m
	}
	m, err := patternmatcher.New(g.patterns)
	if err != nil {
		return &patternmatcher.PatternMatcher{} // they were fine once
	}
	return m
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
