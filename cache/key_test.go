package cache

import "testing"

// TestKey holds the encoding of keys: if it changes, everyone rebuilds, and
// KeyVersion has to change with it.
func TestKey(t *testing.T) {
	for want, parts := range map[string]Parts{
		"f5326ca4eaf8d2485c67fb35d6e3f1266f64c19fb3f0d388d03ff971b9b7bb5e": nil,
		"9826c89e68774cfb92632aa2b4114724d4f39b2914504c17150a3479d42cd36a": {{"op", "exec"}},
		"e3e83f3e1e47d847b8b5c8a7bc5f909f10d97640546c1b2948f60bb48d512928": {{"op", "exec"}, {"arg", "a\x00b"}, {"arg", ""}},
	} {
		if got := parts.Key().String(); got != want {
			t.Errorf("%q: key %s, want %s", parts, got, want)
		}
	}
}

func TestKeysOfDifferentPartsDiffer(t *testing.T) {
	lists := []Parts{
		nil, {{}}, {{}, {}}, {{"a", ""}}, {{"", "a"}}, {{"a", "b"}}, {{"ab", ""}}, {{"", "ab"}},
		{{"a", "b"}, {"c", "d"}}, {{"a", "bc"}, {"", "d"}}, {{"c", "d"}, {"a", "b"}}, {{"a", "b"}, {"c", "d"}, {}},
	}
	seen := map[Key]Parts{}
	for _, parts := range lists {
		if other, ok := seen[parts.Key()]; ok {
			t.Errorf("%q and %q have one key", other, parts)
		}
		seen[parts.Key()] = parts
		if again, err := ParseKey(parts.Key().String()); err != nil || again != parts.Key() {
			t.Errorf("ParseKey: %v, %v", again, err)
		}
	}
	for _, bad := range []string{"", "00", (Key{}).String()[1:] + "g", (Key{}).String() + "00"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("ParseKey(%q) took it", bad)
		}
	}
}
