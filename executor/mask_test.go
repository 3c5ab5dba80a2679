package executor

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// However a stream is cut, what comes out is the same and has no secret.
func TestASecretIsHiddenHoweverTheOutputIsCut(t *testing.T) {
	values := [][]byte{[]byte("sesame\n"), []byte("seseed"), []byte("ab"), []byte("line one\nline two\n"), nil}
	text := []byte("a sesesame, sesesesesesame seseed\nab line one\nline two. line one\nline t sesam")
	want := "a se****, sesesese**** ****\nab ****. line one\nline t sesam"
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		m := newMask(values)
		var got []byte
		for rest := text; len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			got = append(got, m.write(bytes.Clone(rest[:n]))...)
			rest = rest[n:]
		}
		got = append(got, m.end()...)
		if string(got) != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestOutputThatHasNoSecretIsNotHeldBack(t *testing.T) {
	m := newMask([][]byte{[]byte("sesame")})
	for _, text := range []string{"prompt> ", "se", "cond\n"} {
		want := text
		switch text {
		case "se":
			want = ""
		case "cond\n":
			want = "second\n"
		}
		if got := m.write([]byte(text)); string(got) != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
