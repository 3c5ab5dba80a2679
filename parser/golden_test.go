package parser

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"builder/internal/diag"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata")

// TestGolden reads the recipe of each file in testdata and compares what comes
// out, the recipe or its faults, with what the file says.
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
			if len(a.Files) == 1 && *update {
				a.Files = append(a.Files, txtar.File{Name: "golden"})
			}
			if len(a.Files) != 2 {
				t.Fatalf("%d files, want a recipe and what it is", len(a.Files))
			}
			got := outcome(&diag.File{Name: "Dockerfile", Text: string(a.Files[0].Data)})
			if *update {
				a.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// outcome shows the recipe, or what is wrong with it.
func outcome(f *diag.File) string {
	r, err := Parse(f)
	if err != nil {
		return diag.Text(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "escape %c\n", r.Escape)
	for _, a := range r.Args {
		show(&b, a)
	}
	for _, s := range r.Stages {
		fmt.Fprintf(&b, "%s stage %q from %q platform %q\n", extent(s.Span), s.Name, s.Base, s.Platform)
		for _, in := range s.Instructions {
			show(&b, in)
		}
	}
	return b.String()
}

func show(b *strings.Builder, in Instruction) {
	fmt.Fprintf(b, "%s %s", extent(in.Source().Span), in.Source().Keyword)
	v := reflect.ValueOf(in).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Name != "Place" && f.IsExported() && !v.Field(i).IsZero() {
			text, err := json.Marshal(v.Field(i).Interface())
			fmt.Fprintf(b, " %s=%s", f.Name, text)
			if err != nil {
				b.WriteString(err.Error())
			}
		}
	}
	fmt.Fprintf(b, "\n\t%q\n", in.Source().Text)
}

func extent(s diag.Span) string {
	return fmt.Sprintf("%d:%d-%d:%d", s.Start.Line, s.Start.Column, s.End.Line, s.End.Column)
}
