package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const aCommit = "0123456789012345678901234567890123456789"

// write makes files below dir, from name and text by turns.
func write(t *testing.T, dir string, files ...string) {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRepositoryIsReadWithoutGit(t *testing.T) {
	dir := t.TempDir()
	write(t, dir,
		"a/.git/HEAD", "ref: refs/heads/main\n", "a/.git/refs/heads/main", aCommit+"\n", "a/sub/file", "",
		"a/.git/config", "[core]\n\turl = no\n[remote \"origin\"]\n\turl = https://example.com/a.git\n[branch]\n",
		"packed/.git/HEAD", "ref: refs/heads/main", "packed/.git/packed-refs", "# pack-refs\n"+aCommit+" refs/heads/main\n^"+strings.Repeat("1", 40)+"\n",
		"tree/.git", "gitdir: ../a/.git/worktrees/tree\n", "a/.git/worktrees/tree/HEAD", aCommit, "a/.git/worktrees/tree/commondir", "../..\n",
		"out/.git/HEAD", "ref: ../../secret", "secret", aCommit,
		"odd/.git/HEAD", "no commit", "bare/.git/nothing", "",
	)
	if err := os.MkdirAll(filepath.Join(dir, "pipe/.git"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe/.git/HEAD"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "link/.git"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "link/.git/HEAD")); err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]repository{
		"a/sub":  {"a", "https://example.com/a.git", aCommit},
		"packed": {"packed", "", aCommit},
		"tree":   {"tree", "https://example.com/a.git", aCommit},
		"out":    {"out", "", ""},
		"odd":    {"odd", "", ""},
		"bare":   {"bare", "", ""},
		"pipe":   {"pipe", "", ""},
		"link":   {"link", "", ""},
	} {
		want.root = filepath.Join(dir, want.root)
		if got := findRepository(filepath.Join(dir, where)); got != want {
			t.Errorf("%s: got %+v, want %+v", where, got, want)
		}
	}
}

func FuzzRepository(f *testing.F) {
	f.Add("ref: refs/heads/main", aCommit+" refs/heads/main", "[remote \"origin\"]\nurl = x")
	f.Add("gitdir: /", "", "[")
	f.Fuzz(func(t *testing.T, head, packed, config string) {
		dir := t.TempDir()
		write(t, dir, ".git/HEAD", head, ".git/packed-refs", packed, ".git/config", config)
		if r := findRepository(dir); r.revision != "" && !commitID().MatchString(r.revision) || strings.Contains(r.remote, "\n") {
			t.Errorf("took %+v", r)
		}
	})
}
