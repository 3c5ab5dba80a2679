package layer

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// paths lists an index: directories with a slash, what is gone with a minus.
func paths(ix *Index) string {
	var list []string
	for _, e := range ix.Entries {
		switch e.Type {
		case Dir:
			list = append(list, e.Path+"/")
		case Whiteout:
			list = append(list, "-"+e.Path)
		default:
			list = append(list, e.Path)
		}
	}
	return strings.Join(list, " ")
}

// Whether a file has the name of a whiteout is seen where a step made it and
// where a copy did; a tar of the layer would say the same.
func TestFilesWithTheNamesOfWhiteouts(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string // a directory has a slash
		want  string   // "": refused
	}{
		{"a file", []string{"d/", "d/.wh.old", "d/y"}, "d/ -d/old d/y"},
		{"of nothing below", []string{"d/", "d/.wh.nothing"}, "d/ -d/nothing"},
		{"of a file of this layer", []string{"d/", "d/.wh.new", "d/new"}, "d/ d/new"},
		{"of a directory of this layer", []string{"d/", "d/.wh.new", "d/new/"}, ""},
		{"a directory", []string{"d/", "d/.wh.old/"}, ""},
		{"an opaque mark", []string{"d/", "d/.wh..wh..opq"}, ""},
		{"of no name", []string{"d/", "d/.wh."}, ""},
		{"of the parent", []string{"d/", "d/.wh..."}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			var entries []Entry
			var changes []Change
			for _, f := range c.files {
				path, isDir := strings.CutSuffix(f, "/")
				changes = append(changes, Change{Path: path, Kind: Modify})
				if isDir {
					if err := os.Mkdir(filepath.Join(dir, path), 0o755); err != nil {
						t.Fatal(err)
					}
					entries = append(entries, Entry{Path: path, Type: Dir, Mode: 0o755})
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, path), nil, 0o644); err != nil {
					t.Fatal(err)
				}
				entries = append(entries, Entry{Path: path, Type: File, Digest: emptyDigest})
			}
			check := func(how string, ix *Index, err error) {
				switch {
				case err != nil && c.want != "":
					t.Errorf("%s: %v", how, err)
				case err == nil && c.want != paths(ix):
					t.Errorf("%s: got %s, want %s", how, paths(ix), c.want)
				}
			}
			ix, err := NewIndex(entries)
			check("entries", ix, err)
			ix, err = Scan(t.Context(), dir, func(yield func(Change, error) bool) {
				for _, c := range changes {
					if !yield(c, nil) {
						return
					}
				}
			}, NewStack(), ScanOptions{})
			check("scan", ix, err)
		})
	}
}

// What the header of a hard link says counts for the file, in the tree and in
// the index.
func TestTheLastHeaderOfAFileCounts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("owners need root")
	}
	file, link := fileHeader("f", "data"), linkHeader("l", "f")
	file.Mode, file.Uid, file.Gid = 0o644, 1, 2
	file.PAXRecords["SCHILY.xattr.user.kept"] = "1"
	file.PAXRecords["SCHILY.xattr.user.both"] = "1"
	link.Mode, link.Uid, link.Gid = 0o4750, 3, 4
	link.PAXRecords = map[string]string{"SCHILY.xattr.user.both": "2"}
	for _, headers := range [][]tar.Header{{file, link}, {file, linkHeader("l", "f"), link}} {
		dir := t.TempDir()
		ix := apply(t, dir, foreign(t, headers...), ApplyOptions{})
		if got := scanAll(t, dir); got.Content() != ix.Content() {
			t.Errorf("the tree has %+v, the index %+v", got.Entries, ix.Entries)
		}
		e, _ := ix.Find("f")
		if e.Mode != 0o4750 || e.UID != 3 || e.GID != 4 || len(e.Xattrs) != 2 || e.Xattrs[0].Value != "2" || e.Xattrs[1].Value != "1" {
			t.Errorf("got %+v", e)
		}
	}
}
