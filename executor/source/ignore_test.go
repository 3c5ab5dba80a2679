package source

import (
	"testing"

	"github.com/moby/patternmatcher"
)

func FuzzIgnoreIsDockers(f *testing.F) {
	for _, p := range []string{"**/*.log", "*.md", "a/**", "**", "**/x", "a/*/b", "***", "a**b", "**a*", "*", "a*b*c", "**/a/**", "a/**/b", "*/*", "**.x", "!a"} {
		for _, path := range []string{"a", "a/b", "a/x/b", "x.log", "a/b/x.log", "README.md", "a/b.x", "a/c/d/b", "ab", "a/a/a", "a\n/b/x"} {
			f.Add(p, path)
		}
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		m, err := patternmatcher.New([]string{text})
		if err != nil || len(m.Patterns()) != 1 || path == "" {
			return
		}
		p, ok := compile(m.Patterns()[0].String())
		if !ok {
			return
		}
		want, err := m.MatchesUsingParentResult(path, m.Patterns()[0].Exclusion())
		if err != nil {
			return
		}
		if m.Patterns()[0].Exclusion() {
			want = !want
		}
		if got := p.match(path); got != want {
			t.Errorf("pattern %q, path %q: %v, docker says %v", text, path, got, want)
		}
	})
}
