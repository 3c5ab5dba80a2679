package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// repository is what a directory's git repository says of itself.
type repository struct {
	root, remote, revision string
}

// maxGitFile bounds what is read of a repository's files: packed references are
// the longest.
const maxGitFile = 4 << 20

var commitID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`) })

// findRepository reads the repository that dir is in; the zero value where there
// is none. It reads a few small files and starts no program: what git would say
// of a repository that is odd is not worth the time of a build.
func findRepository(dir string) repository {
	for {
		git := filepath.Join(dir, ".git")
		if fi, err := os.Lstat(git); err == nil {
			r := readRepository(git, fi.IsDir())
			r.root = dir
			return r
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return repository{}
		}
		dir = parent
	}
}

// readRepository reads the directory of a repository, or the file in its place
// that a worktree and a submodule have.
func readRepository(git string, isDir bool) (r repository) {
	if !isDir {
		to, ok := strings.CutPrefix(readFirstLine(filepath.Dir(git), ".git"), "gitdir: ")
		if !ok {
			return r
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(git), to)
		}
		git = to
	}
	common := git
	if to := readFirstLine(git, "commondir"); filepath.IsAbs(to) {
		common = to
	} else if to != "" {
		common = filepath.Join(git, to)
	}
	head := readFirstLine(git, "HEAD")
	if name, ok := strings.CutPrefix(head, "ref: "); ok {
		if head = readFirstLine(common, name); head == "" {
			head = packedRef(readGitFile(common, "packed-refs"), name)
		}
	}
	if commitID().MatchString(head) {
		r.revision = head
	}
	r.remote = originURL(readGitFile(common, "config"))
	return r
}

// readGitFile returns the bytes of a small file in a directory, and of nothing
// outside of it: the context is a stranger's.
func readGitFile(dir, name string) []byte {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil
	}
	defer root.Close()
	// A pipe must not stop the build.
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(f, maxGitFile))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return data
}

func readFirstLine(dir, name string) string {
	line, _, _ := bytes.Cut(readGitFile(dir, name), []byte("\n"))
	return strings.TrimSpace(string(line))
}

// packedRef finds a reference among those that were packed.
func packedRef(data []byte, name string) string {
	for line := range bytes.Lines(data) {
		if id, ref, ok := strings.Cut(strings.TrimSpace(string(line)), " "); ok && ref == name {
			return id
		}
	}
	return ""
}

// originURL is where the configuration of a repository says that it is from.
func originURL(config []byte) string {
	in := false
	lines := bufio.NewScanner(bytes.NewReader(config))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			in = line == `[remote "origin"]`
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && in && strings.TrimSpace(key) == "url" {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}
