package base

import (
	"maps"
	"testing"
)

// A changed base changes what every remembered result stands for: the same
// programs must give the same images.
func TestBasesAreAFunctionOfTheirPrograms(t *testing.T) {
	digests := func(busybox string) map[string]string {
		t.Helper()
		s, err := New([]byte(busybox), []byte("probe"), []string{"busybox", "sh"})
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.Digests()
		if err != nil {
			t.Fatal(err)
		}
		if len(d) != len(s.Names()) {
			t.Errorf("%d digests for %d names", len(d), len(s.Names()))
		}
		return d
	}
	one, again, other := digests("one"), digests("one"), digests("other")
	if !maps.Equal(one, again) {
		t.Error("the same programs give other images")
	}
	for name := range one {
		if one[name] == other[name] {
			t.Errorf("%s does not depend on busybox", name)
		}
	}
}
