package planner_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"builder/internal/diag"
	"builder/parser"
	"builder/planner"
)

func TestParseGit(t *testing.T) {
	commit := strings.Repeat("a1", 20)
	for text, want := range map[string]planner.Git{
		"https://a/b.git":                      {Remote: "https://a/b.git"},
		"https://u:p@a/b.git#v1:x/../y/":       {Remote: "https://u:p@a/b.git", Ref: "v1", Subdir: "y"},
		"http://a/b.git#:/x":                   {Remote: "http://a/b.git", Subdir: "x"},
		"git://a/b":                            {Remote: "git://a/b"},
		"ssh://git@a:22/b":                     {Remote: "ssh://git@a:22/b"},
		"git@a.b:c/d":                          {Remote: "git@a.b:c/d"},
		"git@a.b:c/d.git?branch=x#:dir":        {Remote: "git@a.b:c/d.git", Ref: "refs/heads/x", Subdir: "dir"},
		"https://a/b.git?ref=x&subdir=../y":    {Remote: "https://a/b.git", Ref: "x", Subdir: "y"},
		"https://a/b.git?tag=refs/tags/v1#":    {Remote: "https://a/b.git", Ref: "refs/tags/v1"},
		"https://a/b.git?commit=" + commit:     {Remote: "https://a/b.git", Checksum: commit},
		"https://a/b.git?submodules=false":     {Remote: "https://a/b.git", NoSubmodules: true},
		"https://a/b.git?keep-git-dir=":        {Remote: "https://a/b.git", KeepGitDir: true},
		"https://a/b.git?fetch-by-commit=true": {Remote: "https://a/b.git", FetchByCommit: true},
		"https://a/b.git?mtime=commit":         {Remote: "https://a/b.git"},
	} {
		got, ok, err := planner.ParseGit(text)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(planner.Git{})); !ok || err != nil || diff != "" {
			t.Errorf("%s: %v, %v, -want +got\n%s", text, ok, err, diff)
		}
	}
	for _, text := range []string{"a", "./git@a:b", "../x.git", "https://a/b", "https://a/b.git/x", "github.com/a/b", "ftp://a/b.git", "file:///a/b.git", "a@b", "http://[::1/b.git"} {
		if _, ok, err := planner.ParseGit(text); ok || err != nil {
			t.Errorf("%s is taken for a repository: %v", text, err)
		}
	}
	for _, text := range []string{"-x@a:b", "git@-a:b", "ssh://-a/b", "ssh://-u@a/b", "https://a/b.git#-x", "https://a/b.git?checksum=-x", "https://a/b.git#a%0ab", "git:///b"} {
		if _, ok, err := planner.ParseGit(text); !ok || err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

func FuzzParseGit(f *testing.F) {
	f.Add("https://u:p@a/b.git?ref=x&subdir=y#z:w")
	f.Add("git@a.b:c/d?tag=x")
	f.Add("ssh://-a/b")
	f.Fuzz(func(t *testing.T, text string) {
		g, ok, err := planner.ParseGit(text)
		if !ok || err != nil {
			return
		}
		for _, word := range []string{g.Remote, g.Ref, g.Checksum} {
			if strings.ContainsAny(word, "\x00\n") {
				t.Errorf("%q: %q has more than one line", text, word)
			}
		}
		for _, word := range []string{g.Remote, g.Ref, g.Checksum} {
			if strings.HasPrefix(word, "-") {
				t.Errorf("%q: %q could be a flag", text, word)
			}
		}
		if strings.HasPrefix(g.Subdir, "/") || strings.HasPrefix(g.Subdir+"/", "../") {
			t.Errorf("%q: %q leads out", text, g.Subdir)
		}
		planner.Redact(text)
	})
}

// Whatever a URL is, what is fetched from it is one file of a directory of its own.
func FuzzURLName(f *testing.F) {
	f.Add("https://a/b/c?d#e")
	f.Add("https://a/%2e%2e")
	f.Add("https://a/b%2fc")
	f.Fuzz(func(t *testing.T, text string) {
		recipe, err := parser.Parse(&diag.File{Name: "Dockerfile", Text: "FROM scratch\nARG U\nADD $U /\n"})
		if err != nil {
			t.Fatal(err)
		}
		graph, _, err := planner.Plan(recipe, planner.Options{BuildArgs: map[string]string{"U": "https://" + text}}, nil)
		if err != nil || graph == nil {
			return
		}
		for _, s := range graph.Steps {
			op, ok := s.Op.(planner.HTTP)
			if ok && (op.Name == "" || op.Name == "." || op.Name == ".." || strings.ContainsAny(op.Name, "/\x00")) {
				t.Errorf("%q is called %q", text, op.Name)
			}
		}
	})
}
