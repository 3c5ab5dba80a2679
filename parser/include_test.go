package parser

import (
	"fmt"
	"testing"

	"builder/internal/diag"
)

// FuzzInclude holds that no file that is included makes the parser panic or read
// without end, that every place is in its own file, and that no name of a stage is
// there twice.
func FuzzInclude(f *testing.F) {
	for _, text := range []string{
		"RUN true\n", "FROM a AS x\nRUN b\n", "ARG A=1\n", "INCLUDE self\n", "INCLUDE other#x\n", "# escape=`\nRUN a\n", "FROM a AS main\nFROM main AS y\n",
		"ARG A\nFROM $A AS x\nCOPY --from=0 a b\nCOPY --optional=maybe a b\n", "# check=skip=all\nRUN a", "COPY --optional <<E /\nx\nE\n", "ONBUILD INCLUDE x\n", "INCLUDE other\nARG B\n", "",
	} {
		f.Add(text, "FROM b AS other\nINCLUDE self#x\n")
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		files := map[string]*diag.File{"self": {Name: "self", Text: one}, "other": {Name: "other", Text: two}}
		main := &diag.File{Name: "main", Text: "# syntax=builder/1\nINCLUDE self#x\nFROM a AS main\nINCLUDE self\nRUN c\nINCLUDE other\n"}
		r, err := ParseWith(main, Options{Include: func(_ *diag.File, path string) (*diag.File, error) {
			if f, ok := files[path]; ok {
				return f, nil
			}
			return nil, fmt.Errorf("%s is not there", path)
		}})
		if err != nil {
			list, ok := err.(diag.List)
			if !ok || len(list) == 0 {
				t.Fatalf("the error is %T", err)
			}
			for _, e := range list {
				inside(t, e.Span)
				_ = e.Text()
			}
			return
		}
		names := map[string]bool{}
		for _, s := range r.Stages {
			inside(t, s.Span)
			if s.Name != "" && names[s.Name] {
				t.Errorf("stage %q is there twice", s.Name)
			}
			names[s.Name] = true
			for _, in := range s.Instructions {
				inside(t, in.Source().Span)
				inside(t, in.Source().Find("a"))
			}
		}
	})
}
