package layer

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
)

func sameEntries(t testing.TB, what string, got, want []Entry) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("%s: %+v is missing", what, want[i])
		case i >= len(want):
			t.Fatalf("%s: %+v is too much", what, got[i])
		case fmt.Sprintf("%+v", got[i]) != fmt.Sprintf("%+v", want[i]):
			t.Fatalf("%s: entry %d\n got %+v\nwant %+v", what, i, got[i], want[i])
		}
	}
}

func withoutTimes(entries []Entry) []Entry {
	list := slices.Clone(entries)
	for i := range list {
		list[i].Mtime = 0
	}
	return list
}

func byPath(a, b Entry) int { return cmp.Compare(a.Path, b.Path) }
