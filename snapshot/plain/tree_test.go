package plain

import (
	"bytes"
	"testing"

	"builder/snapshot"
)

var example = note{id: snapshot.ID{3}, parent: snapshot.ID{2}, begun: 1, born: 2e9}

// TestNote holds the format: a change to it is a new version.
func TestNote(t *testing.T) {
	const want = `builder plain tree 1
id 0300000000000000000000000000000000000000000000000000000000000000
parent 0200000000000000000000000000000000000000000000000000000000000000
begun 1
born 2000000000
sum 95b95a9bdce14c3c91a92ee6f1381a42033c3e5bad932488fa6f242526e659e0
`
	if got := example.encode(); string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	got, err := decode(example.encode())
	if err != nil || got != example {
		t.Errorf("decoded as %+v, %v", got, err)
	}
}

func TestDamagedNoteIsNone(t *testing.T) {
	text := example.encode()
	for i := range text {
		for bit := range 8 {
			damaged := bytes.Clone(text)
			damaged[i] ^= 1 << bit
			if _, err := decode(damaged); err == nil {
				t.Fatalf("bit %d of byte %d flipped, and it is still a note", bit, i)
			}
		}
		if _, err := decode(text[:i]); err == nil {
			t.Fatalf("cut at %d, and it is still a note", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(example.encode())
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := decode(text)
		if err == nil && !bytes.Equal(got.encode(), text) {
			t.Errorf("accepted, but written as %q", got.encode())
		}
	})
}
