package recipe

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// Names are what stands for a case's placeholders.
type Names struct {
	Registry string            // host:port
	Digests  map[string]string // of the bases
	Web      string            // host:port of the web server
}

var digestOf = regexp.MustCompile(`@DIGEST:([^@]+)@`)

// Expand replaces the placeholders in s.
func (n Names) Expand(s string) string {
	s = strings.ReplaceAll(s, "@REGISTRY@", n.Registry)
	s = strings.ReplaceAll(s, "@WEB@", n.Web)
	return digestOf.ReplaceAllStringFunc(s, func(m string) string {
		return n.Digests[digestOf.FindStringSubmatch(m)[1]]
	})
}

// Expand is the options with placeholders replaced.
func (o Options) Expand(n Names) Options {
	o.Target, o.Platform = n.Expand(o.Target), n.Expand(o.Platform)
	o.Context = n.Expand(o.Context)
	o.BuildArgs, o.Contexts = n.expandAll(o.BuildArgs), n.expandAll(o.Contexts)
	return o
}

func (n Names) expandAll(list []string) []string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = n.Expand(s)
	}
	return all
}

// Write makes the case's files below dir, which must not exist, and runs the
// setup. Each file's time depends on the case and its path: the oracle takes
// files of equal sizes and times for the same.
func (c *Case) Write(dir string, n Names) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	setup := ""
	for _, f := range c.archive.Files {
		data := n.Expand(string(f.Data))
		if f.Name == "setup" {
			setup = data
			continue
		}
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			return err
		}
	}
	if setup != "" {
		if err := runSetup(dir, setup); err != nil {
			return fmt.Errorf("setup: %w", err)
		}
	}
	return c.setTimes(dir)
}

// runSetup runs a script whose tars come out the same each time.
func runSetup(dir, script string) error {
	cmd := exec.Command("/bin/sh", "-euc", "umask 022\n"+script)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC",
		"TAR_OPTIONS=--sort=name --mtime=@1000000000 --owner=0 --group=0 --numeric-owner",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func (c *Case) setTimes(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", c.Name, c.Text, rel))
		at := unix.NsecToTimespec(946684800e9 + int64(binary.BigEndian.Uint64(sum[:])%5e17))
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "utimensat", Path: path, Err: err}
		}
		return nil
	})
}
