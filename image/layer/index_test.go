package layer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// sample has every type, every flag and a few awkward names.
func sample() []Entry {
	sum := func(s string) [32]byte { return sha256.Sum256([]byte(s)) }
	return []Entry{
		{Path: "etc", Type: Dir, Mode: 0o755, Parent: true, Mtime: 5},
		{Path: "etc/shadow-", Type: Whiteout},
		{Path: "etc/passwd", Type: File, Mode: 0o644, Size: 4, Digest: sum("root"), Mtime: 1_700_000_000_123_456_789},
		{Path: "etc/hosts", Type: Hardlink, Link: "etc/passwd"},
		{Path: "opt", Type: Dir, Mode: 0o1777, UID: 1000, GID: 3_000_000, Opaque: true, Xattrs: []Xattr{{"user.a", "1"}, {"user.b", "\x00="}}},
		{Path: "opt/\xff\xfe", Type: Symlink, Mode: 0o777, Link: "../" + strings.Repeat("x", 120)},
		{Path: "opt/null", Type: Char, Mode: 0o666, Major: 1, Minor: 3},
		{Path: "opt/disk", Type: Block, Mode: 0o660, Major: 259, Minor: 1 << 19},
		{Path: "opt/pipe", Type: Fifo, Mode: 0o600},
		{Path: "opt-2", Type: Dir, Mode: 0o755},
		{Path: "opt-2/" + strings.Repeat("n", 200), Type: File, Mode: 0o4755, Digest: emptyDigest, Xattrs: []Xattr{{"security.capability", "\x01\x00\x00\x02"}}},
		{Path: "opt-2/m.py", Type: File, Mode: 0o644, Size: 3, Digest: sum("x=1")},
		{Path: "opt-2/m.pyc", Type: File, Mode: 0o644, Size: 18, Digest: sum("m\x00\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00??"), Pyc: 1},
	}
}

func sampleFiles() memSource {
	return memSource{
		"etc/hosts": "root", "etc/passwd": "root", "opt-2/m.py": "x=1",
		"opt-2/m.pyc": "m\x00\r\n\x00\x00\x00\x00abcd\x03\x00\x00\x00??",
	}
}

func newSample(t testing.TB) *Index {
	t.Helper()
	ix, err := NewIndex(sample())
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func TestNormalOrder(t *testing.T) {
	want := []string{
		"- gone", "- z", "a", "- a/y", "a/b", "a/b/c", "a/b-", "a/x", "a-", "b",
	}
	var entries []Entry
	for _, w := range want {
		e := Entry{Path: w, Type: Dir}
		if p, ok := strings.CutPrefix(w, "- "); ok {
			e = Entry{Path: p, Type: Whiteout}
		}
		entries = append(entries, e)
	}
	for range 20 {
		mixed := slices.Clone(entries)
		rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		ix, err := NewIndex(mixed)
		if err != nil {
			t.Fatal(err)
		}
		sameEntries(t, "order", ix.Entries, entries)
	}
}

func TestCompareIsAnOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "a-", "a.b", "\x01"}
	entry := func() Entry {
		e := Entry{Path: names[r.IntN(5)], Type: []Type{Dir, Whiteout}[r.IntN(2)]}
		for range r.IntN(3) {
			e.Path += "/" + names[r.IntN(5)]
		}
		return e
	}
	for range 200_000 {
		a, b, c := entry(), entry(), entry()
		if Compare(&a, &b) != -Compare(&b, &a) {
			t.Fatalf("%v and %v differ in both directions", a, b)
		}
		if Compare(&a, &b) <= 0 && Compare(&b, &c) <= 0 && Compare(&a, &c) > 0 {
			t.Fatalf("%q %d <= %q %d <= %q %d, but not the first and the last", a.Path, a.Type, b.Path, b.Type, c.Path, c.Type)
		}
	}
}

func TestTheFirstNameInOrderIsTheFile(t *testing.T) {
	ix, err := NewIndex([]Entry{
		{Path: "z", Type: File, Size: 1, Mode: 0o600},
		{Path: "c", Type: Hardlink, Link: "b"},
		{Path: "b", Type: Hardlink, Link: "z"},
		{Path: "other", Type: Hardlink, Link: "below/this"},
	})
	if err != nil {
		t.Fatal(err)
	}
	sameEntries(t, "links", ix.Entries, []Entry{
		{Path: "b", Type: File, Size: 1, Mode: 0o600},
		{Path: "c", Type: Hardlink, Link: "b", Size: 1, Mode: 0o600},
		{Path: "other", Type: Hardlink, Link: "below/this"},
		{Path: "z", Type: Hardlink, Link: "b", Size: 1, Mode: 0o600},
	})
}

func TestNewIndexRefusesWhatIsNoLayer(t *testing.T) {
	for name, entries := range map[string][]Entry{
		"twice":          {{Path: "a", Type: Dir}, {Path: "a", Type: File}},
		"no directory":   {{Path: "a/b", Type: File}},
		"in a file":      {{Path: "a", Type: File}, {Path: "a/b", Type: File}},
		"absolute":       {{Path: "/a", Type: File}},
		"dots":           {{Path: "..", Type: Dir}},
		"slash":          {{Path: "a/", Type: Dir}},
		"no type":        {{Path: "a"}},
		"link to itself": {{Path: "a", Type: Hardlink, Link: "a"}},
		"link to a dir":  {{Path: "a", Type: Dir}, {Path: "b", Type: Hardlink, Link: "a"}},
		"whiteout name":  {{Path: ".wh..wh.a", Type: File}},
		"file as root":   {{Path: "", Type: File}},
	} {
		if ix, err := NewIndex(entries); err == nil {
			t.Errorf("%s: accepted as %+v", name, ix.Entries)
		}
	}
}

func TestContentIsGolden(t *testing.T) {
	ix := newSample(t)
	const want = "d0b3f114a7c9dd02b8ce4e19d03493c65531d15921d84635492709721a7b7c31"
	if got := ix.Content().String(); got != want {
		t.Errorf("content digest %s, want %s: a change gives every layer another identity", got, want)
	}
	again := newSample(t)
	for i := range again.Entries {
		again.Entries[i].Mtime++
		again.Entries[i].Parent = false
	}
	if again.Content() != ix.Content() {
		t.Error("times, or why a directory is there, are part of the content")
	}
}

func TestContentDependsOnEveryField(t *testing.T) {
	seen := map[string]string{newSample(t).Content().String(): "unchanged"}
	for i := range sample() {
		for name, change := range map[string]func(*Entry){
			"mode":   func(e *Entry) { e.Mode ^= 0o100 },
			"uid":    func(e *Entry) { e.UID++ },
			"gid":    func(e *Entry) { e.GID++ },
			"xattr":  func(e *Entry) { e.Xattrs = append(slices.Clone(e.Xattrs), Xattr{"user.z", ""}) },
			"digest": func(e *Entry) { e.Digest[7]++ },
			"size":   func(e *Entry) { e.Size++ },
			"link":   func(e *Entry) { e.Link += "x" },
			"major":  func(e *Entry) { e.Major++ },
			"minor":  func(e *Entry) { e.Minor++ },
			"opaque": func(e *Entry) { e.Opaque = !e.Opaque },
			"pyc":    func(e *Entry) { e.Pyc++ },
		} {
			entries := newSample(t).Entries
			e := &entries[i]
			matters := map[string]string{
				"mode": "2374568", "uid": "234568", "gid": "234568", "xattr": "", "digest": "2", "size": "2",
				"link": "34", "major": "56", "minor": "56", "opaque": "1", "pyc": "2",
			}[name]
			if e.Type == Whiteout || e.Type == Hardlink && name != "link" || e.Type != Hardlink && name != "xattr" &&
				len(matters) < 5 && !strings.Contains(matters, fmt.Sprint(e.Type)) {
				continue
			}
			change(e)
			got := (&Index{Entries: entries}).Content().String()
			what := name + " of " + e.Path
			if other, ok := seen[got]; ok {
				t.Errorf("%s has the content digest of %s", what, other)
			}
			seen[got] = what
		}
	}
}

func encode(t testing.TB, ix *Index) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := ix.Encode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDecodeGivesWhatWasEncoded(t *testing.T) {
	for _, ix := range []*Index{{}, newSample(t), syntheticIndex(5000)} {
		got, err := Decode(encode(t, ix))
		if err != nil {
			t.Fatal(err)
		}
		sameEntries(t, "decoded", got.Entries, ix.Entries)
	}
}

func TestDecodeNoticesEveryDamage(t *testing.T) {
	data := encode(t, newSample(t))
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 1
		if _, err := Decode(bad); err == nil {
			t.Errorf("byte %d of %d flipped: no error", i, len(data))
		}
		if _, err := Decode(data[:i]); err == nil {
			t.Errorf("%d bytes of %d: no error", i, len(data))
		}
	}
}

// FuzzDecode gives Decode bodies with a right checksum: none panics, and what is
// accepted is in normal form and survives being encoded.
func FuzzDecode(f *testing.F) {
	data := encode(f, newSample(f))
	f.Add(data[len(indexMagic) : len(data)-sha256.Size])
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(indexMagic), body...)
		sum := sha256.Sum256(data)
		ix, err := Decode(append(data, sum[:]...))
		if err != nil {
			return
		}
		again, err := Decode(encode(t, ix))
		if err != nil {
			t.Fatalf("not accepted again: %v", err)
		}
		sameEntries(t, "decoded again", again.Entries, ix.Entries)
	})
}

// syntheticIndex returns an index of about n entries, as of a distribution.
func syntheticIndex(n int) *Index {
	entries := make([]Entry, 0, n+n/20)
	for i := 0; len(entries) < n; i++ {
		dir := fmt.Sprintf("dir%03d", i/900)
		if i%900 == 0 {
			entries = append(entries, Entry{Path: dir, Type: Dir, Mode: 0o755})
		}
		sub := fmt.Sprintf("%s/package-%04d", dir, i/30)
		if i%30 == 0 {
			entries = append(entries, Entry{Path: sub, Type: Dir, Mode: 0o755})
		}
		entries = append(entries, Entry{
			Path: fmt.Sprintf("%s/some_file_name_%05d.txt", sub, i), Type: File, Mode: 0o644,
			Size: int64(i), Mtime: 1_700_000_000e9 + int64(i)*1e9, Digest: sha256.Sum256([]byte{byte(i), byte(i >> 8)}),
		})
	}
	ix, err := NewIndex(entries)
	if err != nil {
		panic(err)
	}
	return ix
}

func BenchmarkDecode(b *testing.B) {
	data := encode(b, syntheticIndex(50_000))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	ix := syntheticIndex(50_000)
	b.ReportAllocs()
	for b.Loop() {
		encode(b, ix)
	}
}

func BenchmarkContent(b *testing.B) {
	ix := syntheticIndex(50_000)
	for b.Loop() {
		ix.Content()
	}
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
