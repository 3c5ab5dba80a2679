package cli

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dockerfile "github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/pflag"

	"builder/parser"
)

var update = flag.Bool("update", false, "rewrite docs/dockerfile.md")

// TestReferenceNamesATestForEachFeature holds docs/dockerfile.md against the
// recipes and the scripts: each row's feature is one that some test uses, and
// its status is what the tests say. A flag of an instruction or of build that
// no row or no test has is an error.
func TestReferenceNamesATestForEachFeature(t *testing.T) {
	used := append(recipeUses(t), scriptUses(t)...)
	have, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	keep := rowsOf(string(have))
	if *update {
		keep = nil
	}
	var doc bytes.Buffer
	doc.WriteString(referenceHead)
	known := map[string]bool{}
	for _, section := range append(languageSections(), flagSection()) {
		fmt.Fprintf(&doc, "\n## %s\n\n| feature | status | test |\n|---|---|---|\n", section.title)
		for _, f := range section.features {
			for _, word := range strings.Fields(f.name) {
				name, _, _ := strings.Cut(strings.Trim(word, "`[],"), "=")
				known[section.title+" "+name] = true
			}
			status, test := f.evidence(used, keep[section.title+" "+f.name])
			if test == "" {
				t.Errorf("%s: no recipe and no script uses %s", section.title, f.name)
			}
			fmt.Fprintf(&doc, "| %s | %s | `%s` |\n", strings.ReplaceAll(f.name, "|", `\|`), status, test)
		}
	}
	for _, keyword := range parser.Keywords() {
		for _, name := range parser.Flags(keyword) {
			if !known[keyword+" "+name] {
				t.Errorf("docs/dockerfile.md has no row for %s %s", keyword, name)
			}
		}
	}
	switch {
	case *update:
		if err := os.WriteFile(reference, doc.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	case !bytes.Equal(have, doc.Bytes()):
		t.Errorf("%s is not what the tests say; make golden writes it", reference)
	}
}

const reference = "../../docs/dockerfile.md"

// rowsOf are the tests that the table names, by section and feature: one stays as
// long as it shows its feature, even if a smaller one has come.
func rowsOf(doc string) map[string]string {
	rows, title := map[string]string{}, ""
	for line := range strings.Lines(doc) {
		line = strings.TrimSpace(line)
		if t, ok := strings.CutPrefix(line, "## "); ok {
			title = t
		}
		if m := tableRow.FindStringSubmatch(line); m != nil {
			rows[title+" "+strings.ReplaceAll(m[1], `\|`, "|")] = m[2]
		}
	}
	return rows
}

var tableRow = regexp.MustCompile("^\\| (.*) \\| [a-z]* \\| `([^`]*)` \\|$")

const referenceHead = `# The language, feature by feature

Made of the tests by ` + "`make golden`" + ` and checked by a test of its own: do not edit. One row is one instruction, flag or option. *test* is one that uses it: a recipe of testdata/recipes, which ` + "`make diff`" + ` holds against BuildKit, or a script of cmd/builder/testdata/script. *status* is what
the tests show:

- **works**: the result is BuildKit's, or what the script says;
- **differs**: it works, and what differs on purpose is in [differences.md](differences.md);
- **refused**: no test gets it built, each gets a message.
`

// A use is an instruction, or a command line, in a test.
type use struct {
	test    string // its file
	size    int    // how much is in it: small ones show a feature best
	refused bool
	differs bool

	keyword string   // of the instruction, in capitals; "" for a command line
	text    string   // the instruction or the line
	flags   []string // as they are written
	recipe  string   // the whole text
	ignore  string   // the ignore file
}

// apart is 0 for a test that is named for the instruction, and 1 for others.
func (u use) apart() int {
	if strings.HasPrefix(filepath.Base(u.test), strings.ToLower(u.keyword)+"_") {
		return 0
	}
	return 1
}

// A feature is a row.
type feature struct {
	name string
	seen func(u use) bool
}

// section are the rows under one title.
type section struct {
	title    string
	features []feature
}

// evidence is what the tests say of a feature, and the test that shows it best, or
// the given one if it is as good.
func (f feature) evidence(used []use, given string) (status, test string) {
	rank := func(u use) int {
		switch {
		case u.refused:
			return 2
		case u.differs:
			return 1
		}
		return 0
	}
	var seen []use
	for _, u := range used {
		if f.seen(u) {
			seen = append(seen, u)
		}
	}
	if len(seen) == 0 {
		return "", ""
	}
	best := slices.MinFunc(seen, func(a, b use) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)), strings.Compare(filepath.Dir(a.test), filepath.Dir(b.test)), cmp.Compare(a.apart(), b.apart()),
			cmp.Compare(a.size, b.size), strings.Compare(a.test, b.test),
		)
	})
	for _, u := range seen {
		if u.test == given && rank(u) == rank(best) {
			best = u
		}
	}
	return [...]string{"works", "differs", "refused"}[rank(best)], best.test
}

// recipeUses are the instructions and options of testdata/recipes.
func recipeUses(t *testing.T) []use {
	var used []use
	for _, file := range glob(t, "../../testdata/recipes/*.txtar") {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		u := use{test: "recipes/" + strings.TrimSuffix(filepath.Base(file), ".txtar"), size: len(ar.Comment)}
		for _, f := range ar.Files {
			u.size += len(f.Data)
		}
		options, name := "build", "Dockerfile"
		for line := range strings.Lines(string(ar.Comment)) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
			switch {
			case !ok || strings.HasPrefix(line, "#"):
			case key == "refuse":
				u.refused = true
			case key == "differs":
				u.differs = true
			case key == "file":
				name = value
				options += " -f " + value
			case key == "context":
				options += " " + value
			default:
				options += " --" + key + "=" + value
			}
		}
		used = append(used, u.line(options))
		if ignore := find(ar, name+".dockerignore"); ignore != "" {
			u.ignore = "own\n" + ignore
		} else if ignore := find(ar, ".dockerignore"); ignore != "" {
			u.ignore = "shared\n" + ignore
		}
		used = append(used, u.instructions(find(ar, name))...)
	}
	return used
}

// scriptUses are the commands and recipes of the scripts.
func scriptUses(t *testing.T) []use {
	var used []use
	for _, file := range glob(t, "../../cmd/builder/testdata/script/*.txtar") {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		u := use{test: "script/" + strings.TrimSuffix(filepath.Base(file), ".txtar"), size: len(ar.Comment)}
		faults := strings.HasPrefix(filepath.Base(file), "faults_")
		texts := string(ar.Comment)
		for _, f := range ar.Files {
			texts += "\n" + string(f.Data)
		}
		for line := range strings.Lines(texts) {
			if _, command, ok := strings.Cut(line, "builder build "); ok && !strings.HasPrefix(line, "#") {
				l := u.line(strings.TrimSpace("build " + command))
				l.refused = strings.HasPrefix(line, "!")
				used = append(used, l)
			}
		}
		for _, f := range ar.Files {
			if looksLikeRecipe.Match(f.Data) {
				one := u
				one.refused = faults
				used = append(used, one.instructions(string(f.Data))...)
			}
		}
	}
	return used
}

var looksLikeRecipe = regexp.MustCompile(`(?m)\A(#.*\n|\s*\n)*(FROM|ARG|INCLUDE) `)

// line is a command line as a use.
func (u use) line(text string) use {
	u.text = text
	for _, word := range strings.Fields(text) {
		word = strings.Trim(word, `'"`)
		if len(word) > 1 && word[0] == '-' {
			u.flags = append(u.flags, word)
		}
	}
	return u
}

// instructions are those of a recipe. One that cannot be parsed has none but
// the directives.
func (u use) instructions(text string) []use {
	u.recipe = text
	head := u
	head.keyword = "#"
	used := []use{head}
	parsed, err := dockerfile.Parse(strings.NewReader(text))
	if err != nil {
		return used
	}
	for _, node := range parsed.AST.Children {
		for node != nil {
			one := u
			one.keyword, one.text, one.flags = strings.ToUpper(node.Value), node.Original, node.Flags
			for _, doc := range node.Heredocs {
				one.text += "\n" + doc.Content + doc.Name
			}
			used = append(used, one)
			if one.keyword != "ONBUILD" || node.Next == nil || len(node.Next.Children) == 0 {
				break
			}
			node = node.Next.Children[0]
		}
	}
	return used
}

func find(ar *txtar.Archive, name string) string {
	for _, f := range ar.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	return files
}

// flagSection has a row for each flag of build.
func flagSection() section {
	s := section{title: "builder build"}
	newBuild(&globals{}).Flags().VisitAll(func(f *pflag.Flag) {
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		s.features = append(s.features, feature{name, func(u use) bool {
			return u.keyword == "" && slices.ContainsFunc(u.flags, func(word string) bool {
				given, _, _ := strings.Cut(word, "=")
				return given == "--"+f.Name || f.Shorthand != "" && given == "-"+f.Shorthand
			})
		}})
	})
	return s
}
