package result

import (
	"archive/tar"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// layerOf makes a layer of lines: "d name", "f name content", "h name target",
// "l name target".
func layerOf(t *testing.T, lines ...string) *bytes.Reader {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, line := range lines {
		kind, rest, _ := strings.Cut(line, " ")
		name, value, _ := strings.Cut(rest, " ")
		h := &tar.Header{Name: name, Mode: 0o644}
		switch kind {
		case "d":
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case "f":
			h.Typeflag, h.Size = tar.TypeReg, int64(len(value))
		case "h":
			h.Typeflag, h.Linkname = tar.TypeLink, value
		case "l":
			h.Typeflag, h.Linkname = tar.TypeSymlink, value
		default:
			t.Fatalf("line %q", line)
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if kind == "f" {
			if _, err := tw.Write([]byte(value)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(buf.Bytes())
}

// merged applies layers and prints the tree, one word for each path.
func merged(t *testing.T, layers ...[]string) []string {
	t.Helper()
	tr := newTree()
	for _, l := range layers {
		if _, err := tr.apply(layerOf(t, l...)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, e := range tr.entries() {
		s := e.Path + ":" + e.Type
		if e.Text != nil {
			s += "=" + *e.Text
		}
		if e.Twin != "" {
			s += "~" + e.Twin
		}
		got = append(got, s)
	}
	return got
}

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers [][]string
		want   string
	}{
		{"a whiteout removes what is below it",
			[][]string{{"d a/", "f a/x 1", "f ab 2"}, {"f .wh.a "}}, "/ab:file=2"},
		{"a whiteout does not concern its own layer",
			[][]string{{"f a 1"}, {"f a 2", "f .wh.a "}}, "/a:file=2"},
		{"an opaque mark hides the entries of lower layers and keeps the directory",
			[][]string{{"d a/", "f a/x 1"}, {"d a/", "f a/y 2", "f a/.wh..wh..opq "}}, "/a:dir /a/y:file=2"},
		{"a file replaces a directory with all that is in it",
			[][]string{{"d a/", "f a/x 1"}, {"f a 2"}}, "/a:file=2"},
		{"a directory keeps its entries when a later layer names it",
			[][]string{{"d a/", "f a/x 1"}, {"d a/"}}, "/a:dir /a/x:file=1"},
		{"names of one file form a group, and a new file leaves it",
			[][]string{{"f a 1", "h b a", "h c a"}, {"f b 2"}}, "/a:file=1~/a /b:file=2 /c:file=1~/a"},
		{"a hard link may name a file of a lower layer",
			[][]string{{"f a 1"}, {"h b a"}}, "/a:file=1~/a /b:file=1~/a"},
	} {
		if got := strings.Join(merged(t, c.layers...), " "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestLayerPathsAreSortedAndMarked(t *testing.T) {
	got, err := newTree().apply(layerOf(t, "f z 1", "d b/", "f b/.wh.x ", "f ./a 1"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/a", "/b/", "/b/.wh.x", "/z"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBrokenLayersAreErrors(t *testing.T) {
	for _, lines := range [][]string{{"f a 1", "f a 2"}, {"h a nothing"}} {
		if _, err := newTree().apply(layerOf(t, lines...)); err == nil {
			t.Error(fmt.Sprint(lines), "is accepted")
		}
	}
}
