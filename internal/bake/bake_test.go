package bake_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"builder/internal/bake"
	"builder/internal/diag"
)

var update = flag.Bool("update", false, "write what is printed into the files")

// TestPrint reads the files of each testdata/*.txtar. The head has lines "env NAME=VALUE", "var NAME=VALUE",
// "set PATTERN.KEY=VALUE" and "targets NAME..."; the file "print" is what comes out, or "error".
func TestPrint(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, failed := print(archive)
			name := "print"
			if failed {
				name = "error"
			}
			i := len(archive.Files) - 1
			if *update {
				last := txtar.File{Name: name, Data: []byte(got)}
				if n := archive.Files[i].Name; n == "print" || n == "error" {
					archive.Files[i] = last
				} else {
					archive.Files = append(archive.Files, last)
				}
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(archive.Files[i].Data); archive.Files[i].Name != name || want != got {
				t.Errorf("%s is\n%s\nwant %s\n%s", name, got, archive.Files[i].Name, want)
			}
		})
	}
}

func print(archive *txtar.Archive) (text string, failed bool) {
	env, o, set, targets := map[string]string{}, bake.Options{Vars: map[string]string{}}, []string(nil), []string(nil)
	for line := range strings.Lines(string(archive.Comment)) {
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, value, _ := strings.Cut(rest, "=")
		switch key {
		case "env":
			env[name] = value
		case "var":
			o.Vars[name] = value
		case "set":
			set = append(set, rest)
		case "targets":
			targets = strings.Fields(rest)
		}
	}
	o.Env = func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	var files []*diag.File
	for _, f := range archive.Files {
		if f.Name != "print" && f.Name != "error" {
			files = append(files, &diag.File{Name: f.Name, Text: string(f.Data)})
		}
	}
	d, err := bake.Read(files, o)
	if err != nil {
		return diag.Text(err) + "\n", true
	}
	s, err := d.Select(targets, set)
	if err != nil {
		return diag.Text(err) + "\n", true
	}
	b, err := s.JSON()
	if err != nil {
		return err.Error() + "\n", true
	}
	return string(b), false
}

// FuzzRead holds that whatever a file says ends, and that what is printed is JSON.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			f.Add(file.Name, string(file.Data), "*.args.A=1")
		}
	}
	f.Fuzz(func(t *testing.T, name, text, set string) {
		if len(text) > 4<<10 {
			return
		}
		d, err := bake.Read([]*diag.File{{Name: name, Text: text}}, bake.Options{})
		if err != nil {
			return
		}
		for _, l := range d.List() {
			s, err := d.Select([]string{l.Name}, []string{set})
			if err != nil {
				continue
			}
			if b, err := s.JSON(); err != nil || !json.Valid(b) {
				t.Errorf("%v\n%s", err, b)
			}
		}
	})
}
