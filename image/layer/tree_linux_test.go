package layer

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestManyFilesAreWritten writes enough files for several goroutines, among
// directories that stand in each other's place below, and further names.
func TestManyFilesAreWritten(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	ix, files := mixedFiles(t)
	entries := []Entry{{Path: "d", Type: Dir, Mode: 0o755, UID: os.Geteuid(), GID: os.Getegid(), Opaque: true}}
	for _, e := range ix.Entries {
		e.UID, e.GID = os.Geteuid(), os.Getegid()
		entries = append(entries, e, Entry{Path: "d/" + e.Path, Type: Hardlink, Link: e.Path})
	}
	ix, err := NewIndex(entries)
	if err != nil {
		t.Fatal(err)
	}
	// The first name in order is the file now.
	moved := memSource{}
	for path, data := range files {
		moved["d/"+path] = data
	}

	dir := t.TempDir()
	for _, old := range []string{"f003/below", "f450/below", "d/below", "d/f007"} { // directories where files come, and files
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, old)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, old), []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteTree(t.Context(), dir, ix, moved, TreeOptions{}); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(filepath.Join(dir, "d"))
	if err != nil || len(names) != len(files) {
		t.Errorf("%d files in the directory, want %d; %v", len(names), len(files), err)
	}
	for path, want := range files {
		got, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, want %d; %v", path, len(got), len(want), err)
		}
		a, err := os.Stat(filepath.Join(dir, path))
		b, berr := os.Stat(filepath.Join(dir, "d", path))
		if err != nil || berr != nil || !os.SameFile(a, b) {
			t.Errorf("%s is not the same file twice: %v, %v", path, err, berr)
		}
	}

	moved["d/f333"] = "y" + moved["d/f333"][1:]
	err = WriteTree(t.Context(), t.TempDir(), ix, moved, TreeOptions{})
	if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "d/f333") {
		t.Errorf("a changed file: %v", err)
	}
}
