package fileop_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"

	"builder/executor/fileop"
	"builder/image/layer"
	"builder/planner"
)

// However a mode is written, what comes out is a mode, and a directory is treated
// as a file that somebody can execute.
func FuzzChmod(f *testing.F) {
	for _, mode := range []string{"755", "u=rwX,go=rX", "g=u-w,+t", "a-x,a+X", "=s", "u=g=o", "8", "u+", ",", "u+x,755"} {
		f.Add(mode, uint16(0o640))
	}
	f.Fuzz(func(t *testing.T, mode string, before uint16) {
		src := layer.NewStack(index(t,
			layer.Entry{Path: "d", Type: layer.Dir, Mode: 0o755},
			layer.Entry{Path: "d/dir", Type: layer.Dir, Mode: uint32(before)&0o7777 | 0o100},
			layer.Entry{Path: "d/exe", Type: layer.File, Mode: uint32(before)&0o7777 | 0o100},
			layer.Entry{Path: "d/link", Type: layer.Symlink, Mode: 0o777, Link: "exe"}))
		made, err := runFuzz(t, planner.Copy{Sources: []string{"d"}, Dest: "/", Chmod: mode}, src)
		if err != nil {
			if !strings.Contains(err.Error(), "invalid mode") {
				t.Errorf("%q: %v", mode, err)
			}
			return
		}
		dir, exe, link := made["dir"], made["exe"], made["link"]
		if dir.Mode != exe.Mode || dir.Mode > 0o7777 {
			t.Errorf("%q: directory %o, file %o", mode, dir.Mode, exe.Mode)
		}
		if link.Link != "exe" {
			t.Errorf("%q: the link is %+v", mode, link)
		}
	})
}

// What patterns choose is what one gets who asks them about every path.
func FuzzPatterns(f *testing.F) {
	for _, p := range []string{"*", "**", "**/a", "a/**", "a/*/b", "!a", "**/b/**", "[ab]", "[^a]/b", `\a`, "a/", "/a", "../a", "a**/b", "?/a*", ""} {
		f.Add(p, "a", "!a/b")
		f.Add("a/**", p, "!"+p)
		f.Add("", p, "")
	}
	src := layer.NewStack(bush(f))
	f.Fuzz(func(t *testing.T, include, exclude, exception string) {
		op := planner.Copy{Sources: []string{"."}, Dest: "/"}
		if include != "" {
			op.Include = []string{strings.TrimPrefix(path.Clean("/"+include), "/")}
		}
		for _, p := range []string{exclude, exception} {
			if p != "" {
				op.Exclude = append(op.Exclude, p)
			}
		}
		selection, err := fileop.Select(op, src)
		if err != nil {
			return
		}
		var got []string
		for _, e := range selection.Entries() {
			if e.Type != layer.Dir {
				got = append(got, e.Path)
			}
		}
		if want := asked(t, op, src); !slices.Equal(got, want) {
			t.Errorf("include %q exclude %q: got %q, want %q", op.Include, op.Exclude, got, want)
		}
	})
}

// bush is a tree of four levels in which every name is everywhere.
func bush(tb testing.TB) *layer.Index {
	tb.Helper()
	var entries []layer.Entry
	var grow func(dir string, depth int)
	grow = func(dir string, depth int) {
		for _, name := range []string{"a", "ab", "b", ".c"} {
			e := layer.Entry{Path: path.Join(dir, name), Type: layer.Dir, Mode: 0o755}
			if depth == 4 || name == "ab" && depth > 1 {
				e.Type, e.Mode = layer.File, 0o644
			}
			entries = append(entries, e)
			if e.Type == layer.Dir {
				grow(e.Path, depth+1)
			}
		}
	}
	grow("", 1)
	return index(tb, entries...)
}

// asked lists the files that the patterns of op choose, without any short cut.
func asked(t *testing.T, op planner.Copy, src layer.View) []string {
	t.Helper()
	include := []string{"**"}
	if op.Include != nil {
		include = op.Include
	}
	in, err := patternmatcher.New(include)
	if err != nil {
		t.Fatal(err)
	}
	out, err := patternmatcher.New(op.Exclude)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	var walk func(dir string, inAbove, outAbove patternmatcher.MatchInfo)
	walk = func(dir string, inAbove, outAbove patternmatcher.MatchInfo) {
		for _, e := range src.ReadDir(dir) {
			chosen, inHere, err := in.MatchesUsingParentResults(e.Path, inAbove)
			if err != nil {
				t.Fatal(err)
			}
			left, outHere, err := out.MatchesUsingParentResults(e.Path, outAbove)
			switch {
			case err != nil:
				t.Fatal(err)
			case e.Type == layer.Dir:
				walk(e.Path, inHere, outHere)
			case chosen && !left:
				found = append(found, e.Path)
			}
		}
	}
	walk("", patternmatcher.MatchInfo{}, patternmatcher.MatchInfo{})
	return found
}

func index(tb testing.TB, entries ...layer.Entry) *layer.Index {
	tb.Helper()
	slices.SortFunc(entries, func(a, b layer.Entry) int {
		return slices.Compare(strings.Split(a.Path, "/"), strings.Split(b.Path, "/"))
	})
	ix, err := layer.NewIndex(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return ix
}

// runFuzz copies onto nothing and returns what is made, by path.
func runFuzz(t *testing.T, op planner.Copy, src layer.View) (map[string]layer.Entry, error) {
	t.Helper()
	selection, err := fileop.Select(op, src)
	if err != nil {
		return nil, err
	}
	made, err := fileop.Copy(t.Context(), op, selection, fileop.Tree{View: layer.NewStack()}, fileop.CopyOptions{Now: now})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	}()
	entries := map[string]layer.Entry{}
	for _, e := range made.Index.Entries {
		entries[e.Path] = e
	}
	return entries, nil
}
