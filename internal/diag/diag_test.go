package diag

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestTextShowsPlaceExcerptCaretAndHint(t *testing.T) {
	f := &File{Name: "Dockerfile", Text: "FROM scratch\n\tRUN --mout=x true\n"}
	e := Errorf(Span{f, Pos{2, 6}, Pos{2, 12}}, "unknown flag %q", "--mout").WithHint("did you mean %q?", "--mount")
	want := "Dockerfile:2:6: unknown flag \"--mout\"\n   2 | \tRUN --mout=x true\n     | \t    ^^^^^^\nhint: did you mean \"--mount\"?\n"
	if got := Text(fmt.Errorf("build: %w", e)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestListIsInTheOrderOfTheText(t *testing.T) {
	f := &File{Name: "f", Text: "a\nb\n"}
	var l List
	l.Add(Errorf(Span{File: f, Start: Pos{2, 1}}, "second"))
	l.Add(&Error{Span: Span{File: f, Start: Pos{1, 1}}, Message: "first", Err: io.EOF})
	err := l.Err()
	if got, want := err.Error(), "f:1:1: first\nf:2:1: second"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, io.EOF) {
		t.Error("the cause is not found")
	}
	if (List{}).Err() != nil {
		t.Error("an empty list is an error")
	}
}

func TestNearest(t *testing.T) {
	words := []string{"--mount", "--network", "--chown", "COPY", "RUN"}
	for word, want := range map[string]string{"--mout": "--mount", "--netwrok": "--network", "CPOY": "COPY", "RNU": "RUN", "FROM": "", "--mount": ""} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
