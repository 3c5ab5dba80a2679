package parser

import (
	"slices"
	"strings"
	"testing"

	"builder/internal/diag"
)

func TestAnInstructionKnowsWhereItsWordsStand(t *testing.T) {
	f := &diag.File{Name: "Dockerfile", Text: "FROM scratch\nCOPY --chown=a --from=a \\\n  b c \\\n  /a\n"}
	r, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	place := r.Stages[0].Instructions[0].Source()
	if got, want := place.FindFlag("--from", "a").Start, (diag.Pos{Line: 2, Column: 23}); got != want {
		t.Errorf("--from's value: got %v, want %v", got, want)
	}
	if got, want := place.Find("c").Start, (diag.Pos{Line: 2, Column: 8}); got != want {
		t.Errorf("the first c: got %v, want %v", got, want)
	}
	if got, want := place.Find("nowhere"), place.Span; got != want {
		t.Errorf("a word that is not there: got %v, want %v", got, want)
	}
}

func TestATriggerIsReadAsAnInstructionOfItsFrom(t *testing.T) {
	at := diag.Span{File: &diag.File{Name: "Dockerfile", Text: "FROM base\n"}, Start: diag.Pos{Line: 1, Column: 1}}
	in, err := ParseTrigger("COPY <<EOF /x\ntext\nEOF", at)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := in.(*Copy)
	if !ok || len(c.Files) != 1 || c.Files[0].Data != "text\n" || c.Span != at {
		t.Errorf("got %#v", in)
	}
	for text, want := range map[string]string{
		"RUN a\nRUN b":               "single expression",
		"FROM x":                     "not allowed",
		"NOSUCH x":                   "unknown instruction",
		"":                           "no instructions",
		"CMD [1]":                    "strings only",
		"COPY <<EOF /x\nnot the end": "unterminated heredoc",
	} {
		if _, err := ParseTrigger(text, at); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "Dockerfile:1:1: ") {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestALineThatIsTooLongIsNamed(t *testing.T) {
	long := "FROM scratch\nENV A=" + strings.Repeat("a", 1<<17) + "\n"
	_, err := Parse(&diag.File{Name: "f", Text: long})
	if err == nil || !strings.Contains(err.Error(), "f:2:1: line greater than max allowed size") {
		t.Errorf("got %v", err)
	}
}

func TestFaultsAreBounded(t *testing.T) {
	_, err := Parse(&diag.File{Name: "f", Text: "FROM scratch\n" + strings.Repeat("ENV A\n", 10000)})
	list, ok := err.(diag.List)
	if !ok || len(list) == 0 || len(list) > maxFaults {
		t.Errorf("got %d faults of type %T, want up to %d", len(list), err, maxFaults)
	}
}

func TestIgnoreFile(t *testing.T) {
	got, err := ParseIgnore(&diag.File{Name: ".dockerignore", Text: "\ufeff# comment\n\n  /a/../b/ \n!  /c\n*.o\n"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"b", "!c", "*.o"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = ParseIgnore(&diag.File{Name: ".dockerignore", Text: "a\n!\n[\n"})
	want := ".dockerignore:2:1: illegal exclusion pattern: \"!\"\n.dockerignore:3:1: syntax error in pattern"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestNativeFrontends(t *testing.T) {
	for frontend, want := range map[string]bool{
		"docker/dockerfile": true, "docker/dockerfile:1": true, "docker.io/docker/dockerfile:1.7-labs": true, "docker/dockerfile:1@sha256:ab": false,
		"docker/dockerfile@sha256:" + strings.Repeat("0a", 32): true, "docker/dockerfile:1@sha256:" + strings.Repeat("0a", 32): true,
		"index.docker.io/docker/dockerfile:1": true, "docker/dockerfile:1.8.0-rc1": true, "docker/dockerfile-upstream:master-labs": true,
		"docker/dockerfile:": false, "docker/dockerfile:-": false, "docker/dockerfile:1-": false, "docker/dockerfile:1labs": false,
		"docker/dockerfile:1.1-experimental": true,
		"docker/dockerfile-upstream:master":  true, "example.com/docker/dockerfile:1": false, "tonistiigi/mockerfile": false, "": false,
		"docker/dockerfile:1.26": true, "docker/dockerfile:1.26.1": true, "docker/dockerfile:1.27": false, "docker/dockerfile:labs": true,
		"docker/dockerfile:1-labs": true, "docker/dockerfile:1.99-labs": false, "docker/dockerfile:2": false, "docker/dockerfile:latest": true,
		"docker/dockerfile:nightly": false, "builder/2": false, "builders": false,
	} {
		if _, err := Frontend(frontend); (err == nil) != want {
			t.Errorf("Frontend(%q): %v, want it read: %v", frontend, err, want)
		}
	}
	for _, frontend := range []string{"builder", "builder/1"} {
		if extended, err := Frontend(frontend); err != nil || !extended {
			t.Errorf("Frontend(%q) = %v, %v", frontend, extended, err)
		}
	}
}

// FuzzParse holds that no text makes the parser panic, and that all places that
// it gives are in the text.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"FROM scratch\nRUN <<EOF\necho\nEOF\n",
		"# escape=`\nFROM a AS b\nCOPY --from=b <<A <<-\"B\" /x\na\nA\n\tb\n\tB\n",
		"# syntax=docker/dockerfile:1\nARG A\nFROM $A\nENV a b\nENV c=d \\\n e=f\nHEALTHCHECK --interval=1s CMD [\"x\"]\n",
		"FROM a\nONBUILD COPY <<EOF /\nx\nEOF\nEXPOSE 1 2\nVOLUME [\"/a\"]\nSHELL [\"a\"]\n",
		"FORM a\nRUN --mout=x y\nENV\nCOPY a\nRUN <<E\n", "\ufeffFROM a", "{\"syntax\": \"x\"}", "#!x\n# check=skip=all;error=true\n",
		"FROM a\nRUN --mount=type=bind,from=x,source=/a,target=b,rw --mount=type=cache,id=$I,sharing=locked,mode=0700,uid=1 \\\n --mount=type=secret,env=E,required a\n",
		"FROM a\nRUN --mount=type=tmpfs,size=1x --mount=tarket=/,ro=maybe,\"a,b\" --device=a=b,required --network=none a\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file := &diag.File{Name: "fuzz", Text: text}
		r, err := Parse(file)
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
		if len(r.Stages) == 0 {
			t.Error("a recipe without a stage")
		}
		for _, s := range r.Stages {
			inside(t, s.Span)
			for _, in := range s.Instructions {
				inside(t, in.Source().Span)
				inside(t, in.Source().Find("a"))
				inside(t, in.Source().FindFlag("--from", "a"))
				switch in := in.(type) {
				case *OnBuild:
					_, _ = ParseTrigger(in.Trigger, in.Span)
				case *Run:
					checkMounts(t, in)
				}
			}
		}
	})
}

// inside fails unless the span is a place in its file.
func inside(t *testing.T, s diag.Span) {
	t.Helper()
	if s.Start.Line == 0 && s.Start.Column == 0 {
		return
	}
	lines := strings.Split(s.File.Text, "\n")
	for _, p := range []diag.Pos{s.Start, s.End} {
		if p == (diag.Pos{}) || p.Column == 0 && p.Line <= len(lines) {
			continue
		}
		if p.Line < 1 || p.Line > len(lines) || p.Column > len(lines[p.Line-1])+1 {
			t.Errorf("span %v is outside of the text", s)
		}
	}
	if s.End != (diag.Pos{}) && (s.End.Line < s.Start.Line || s.End.Line == s.Start.Line && s.End.Column < s.Start.Column) {
		t.Errorf("span ends before it begins: %v", s)
	}
}

// checkMounts reads the mounts of a RUN: the same twice, or a fault with its place.
func checkMounts(t *testing.T, r *Run) {
	t.Helper()
	expand := func(word string) (string, error) { return strings.ReplaceAll(word, "$I", "value"), nil }
	mounts, err := r.Mounts(expand)
	again, errAgain := r.Mounts(expand)
	if (err == nil) != (errAgain == nil) || len(mounts) != len(again) {
		t.Fatalf("%v (%v), then %v (%v)", mounts, err, again, errAgain)
	}
	for i := range r.MountsFrom() {
		inside(t, r.MountSpan(i))
	}
	if err == nil {
		if len(mounts) != len(r.MountsFrom()) {
			t.Errorf("%d mounts, %d sources", len(mounts), len(r.MountsFrom()))
		}
		return
	}
	e, ok := err.(*diag.Error)
	if !ok {
		t.Fatalf("the error is %T", err)
	}
	inside(t, e.Span)
	_ = e.Text()
}
