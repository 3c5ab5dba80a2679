package recipe

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const example = `# What it shows.
target: last
build-arg: A=b: c
build-arg: D=
refuse: no (tag|name)
differs: times
differs-in: lacks
-- Dockerfile --
FROM @REGISTRY@/x:1@@DIGEST:x:1@
-- d/f --
f
-- setup --
ln -s d link; chmod 600 d/f; mkdir empty
tar -cf t.tar d
`

func TestHeadAndFiles(t *testing.T) {
	c, err := Parse("example", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if c.Target != "last" || strings.Join(c.BuildArgs, "|") != "A=b: c|D=" || c.File != "Dockerfile" || !c.Refuse.MatchString("no name") {
		t.Errorf("got %+v", c.Options)
	}
	if !c.Expected("layer 0 lacks /x") || c.Expected("mode") {
		t.Error("differs-in does not choose")
	}

	// Two places, as far as BuildKit may see, are the same context.
	var tars []string
	for range 2 {
		dir := filepath.Join(t.TempDir(), "case")
		if err := c.Write(dir, Names{Registry: "host:1", Digests: map[string]string{"x:1": "sha256:ab"}}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
		if err != nil || string(text) != "FROM host:1/x:1@sha256:ab\n" {
			t.Errorf("got %q, %v", text, err)
		}
		info, err := os.Lstat(filepath.Join(dir, "d/f"))
		if err != nil {
			t.Fatal(err)
		}
		tar, err := os.ReadFile(filepath.Join(dir, "t.tar"))
		if err != nil {
			t.Fatal(err)
		}
		tars = append(tars, info.Mode().String()+info.ModTime().String()+string(tar))
		if _, err := os.Lstat(filepath.Join(dir, "setup")); err == nil {
			t.Error("setup stands in the context")
		}
	}
	if tars[0] != tars[1] {
		t.Error("a case written twice differs in mode, time or tar")
	}
}

func TestFilesOfEqualSizeHaveOtherTimesInOtherCases(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"one", "two"} {
		c, err := Parse(name, []byte("-- a --\nx\n-- b --\ny\n"))
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), name)
		if err := c.Write(dir, Names{}); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"a", "b"} {
			info, err := os.Stat(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if at := info.ModTime().String(); seen[at] {
				t.Errorf("%s/%s has the time of another file", name, f)
			} else {
				seen[at] = true
			}
		}
	}
}

func TestUnknownOptionsAreErrors(t *testing.T) {
	for _, head := range []string{"nosuch: 1\n", "no option\n", "refuse: (\n"} {
		if _, err := Parse("x", []byte(head+"-- f --\n")); err == nil {
			t.Errorf("%q is accepted", head)
		}
	}
}

// The corpus itself: every case can be read, says what it shows, and has a recipe
// or a setup that makes one.
func TestCorpus(t *testing.T) {
	cases, err := Load("../../testdata/recipes", regexp.MustCompile(""))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 120 {
		t.Errorf("%d cases", len(cases))
	}
	for _, c := range cases {
		if !strings.HasPrefix(string(c.Text), "# ") {
			t.Errorf("%s does not say what it shows", c.Name)
		}
		names := map[string]bool{}
		for _, f := range c.archive.Files {
			if names[f.Name] {
				t.Errorf("%s has %s twice", c.Name, f.Name)
			}
			names[f.Name] = true
		}
		if !names[c.File] && !names["setup"] && c.Refuse == nil && !strings.Contains(c.Context, "://") {
			t.Errorf("%s has no %s", c.Name, c.File)
		}
	}
}
