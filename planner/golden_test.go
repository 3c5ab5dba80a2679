package planner_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"builder/image"
	"builder/internal/diag"
	"builder/parser"
	"builder/planner"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata")

// TestGolden plans the recipe of each file in testdata and compares the graph,
// or what is wrong, with what the file says. A file has options as "key: value"
// lines, a Dockerfile, the configs of bases by their names, and the golden part.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := newCase(t, a)
			got := c.outcome()
			if *update {
				c.write(t, file, a, got)
				return
			}
			if diff := cmp.Diff(c.golden, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// golden is one file of testdata.
type golden struct {
	options planner.Options
	recipe  *diag.File
	bases   map[string]image.Config
	golden  string
}

func newCase(t *testing.T, a *txtar.Archive) *golden {
	t.Helper()
	c := &golden{bases: map[string]image.Config{}}
	c.options = options(t, string(a.Comment))
	for _, f := range a.Files {
		switch name, base := strings.CutPrefix(f.Name, "base "); {
		case f.Name == "Dockerfile":
			c.recipe = &diag.File{Name: f.Name, Text: string(f.Data)}
		case f.Name == "golden":
			c.golden = string(f.Data)
		case base:
			var config image.Config
			if err := json.Unmarshal(f.Data, &config); err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			c.bases[name] = config
		default:
			t.Fatalf("file %q", f.Name)
		}
	}
	return c
}

func options(t *testing.T, text string) planner.Options {
	t.Helper()
	o := planner.Options{
		BuildArgs: map[string]string{}, Labels: map[string]string{},
		BuildPlatform: image.Platform{OS: "linux", Architecture: "amd64"},
	}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		name, of, _ := strings.Cut(value, "=")
		switch key {
		case "target":
			o.Target = value
		case "build-arg":
			o.BuildArgs[name] = of
		case "label":
			o.Labels[name] = of
		case "platform":
			p, err := platforms.Parse(value)
			if err != nil {
				t.Fatal(err)
			}
			o.Platform = p
		case "show-platform":
			o.ShowPlatform = true
		case "no-cache-filter":
			o.NoCacheFilter = append(o.NoCacheFilter, value)
		case "ignore":
			o.Ignore = append(o.Ignore, value)
		case "add-host":
			o.Hosts = append(o.Hosts, planner.Host{Name: name, IP: of})
		default:
			t.Fatalf("option %q", key)
		}
	}
	return o
}

// outcome plans until nothing is wanted. Names without a base are shown as wanted.
func (c *golden) outcome() string {
	recipe, err := parser.Parse(c.recipe)
	if err != nil {
		return diag.Text(err)
	}
	var b strings.Builder
	pins := planner.Pins{}
	for {
		graph, wanted, err := planner.Plan(recipe, c.options, pins)
		if err != nil {
			return b.String() + diag.Text(err)
		}
		if len(wanted) == 0 {
			return b.String() + graph.String()
		}
		lacks := false
		for _, w := range wanted {
			config, ok := c.bases[w.Reference.Familiar()]
			fmt.Fprintf(&b, "wants %s for %s at %s %s\n", w.Reference, w.Name.Platform, w.Span, w.Near)
			lacks = lacks || !ok
			pins[w.Name] = planner.Pin{Digest: digestOf(w.Reference.String()), Config: config}
		}
		if lacks {
			return b.String()
		}
	}
}

func (c *golden) write(t *testing.T, file string, a *txtar.Archive, got string) {
	t.Helper()
	for i, f := range a.Files {
		if f.Name == "golden" {
			a.Files = a.Files[:i]
			break
		}
	}
	a.Files = append(a.Files, txtar.File{Name: "golden", Data: []byte(got)})
	if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}
