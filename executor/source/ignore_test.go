package source

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
)

// FuzzIgnoreIsDockers walks down to a path as a context is walked and compares
// what is excluded on the way with docker's matcher.
func FuzzIgnoreIsDockers(f *testing.F) {
	for _, patterns := range []string{
		"**/*.log", "*.md", "a/**", "**", "**/x", "a/*/b", "***", "a**b", "**a*", "*", "a*b*c", "**/a/**", "a/**/b", "*/*", "**.x",
		"a\n!a/b\na*", "foo\n!foo/bar\nf*", "*\n!a\na/b", "**\n!**/x\nb/x",
	} {
		for _, path := range []string{"a/x/b", "a/b/x.log", "README.md", "a/b.x", "a/c/d/b", "foo/bar/x", "a\n/b/x"} {
			f.Add(patterns, path)
		}
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		if filepath.Join("/", path) != "/"+path || path == "" {
			return // not as a walk finds it
		}
		patterns := strings.Split(text, "\n")
		docker, err := patternmatcher.New(patterns)
		if err != nil || len(docker.Patterns()) == 0 {
			return
		}
		ours, err := newIgnore(patterns)
		if err != nil {
			t.Fatal(err)
		}
		if !ours.usual {
			return
		}
		var above patternmatcher.MatchInfo
		var dir *matched
		for n, c := range path + "/" {
			if c != '/' || n == 0 {
				continue
			}
			var want, got bool
			if want, above, err = docker.MatchesUsingParentResults(path[:n], above); err != nil {
				return
			}
			if got, dir, err = ours.matches(path[:n], dir, true); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Fatalf("patterns %q, path %q: %v, docker says %v", patterns, path[:n], got, want)
			}
		}
	})
}
