package snapshottest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
	"builder/snapshot"
)

// file is all of a file that a tree must keep.
type file struct {
	What  string // type, mode, owner, size, content, target, device, attributes
	Group string // the first path of its hard links
	Mtime int64
}

// listing is a tree: path relative to its root → file.
type listing map[string]file

// list reads the tree at root.
func list(t *testing.T, root string) listing {
	t.Helper()
	l := listing{}
	first := map[uint64]string{}
	err := filepath.WalkDir(root+"/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		f, ino, err := describe(path)
		if ino != 0 {
			if first[ino] == "" {
				first[ino] = name
			}
			f.Group = first[ino]
		}
		l[name] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// describe reads one file; ino is 0 for one that has a single name.
func describe(path string) (f file, ino uint64, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return f, 0, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%o %d:%d", st.Mode, st.Uid, st.Gid)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return f, 0, err
		}
		fmt.Fprintf(&b, " %d %x", len(data), sha256.Sum256(data))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return f, 0, err
		}
		fmt.Fprintf(&b, " -> %q", target)
	case unix.S_IFCHR, unix.S_IFBLK:
		fmt.Fprintf(&b, " device %d", st.Rdev)
	}
	names, err := sys.Xattrs(path)
	if err != nil {
		return f, 0, err
	}
	slices.Sort(names)
	for _, name := range names {
		if sys.IsOverlayXattr(name) || name == "security.selinux" {
			continue
		}
		value, _, err := sys.Xattr(path, name)
		if err != nil {
			return f, 0, err
		}
		fmt.Fprintf(&b, " %s=%q", name, value)
	}
	f = file{What: b.String(), Mtime: st.Mtim.Nano()}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return f, st.Ino, nil
	}
	return f, 0, nil
}

// same fails where two trees differ in anything but times.
func same(t *testing.T, what string, got, want listing) {
	t.Helper()
	for path, w := range want {
		g, ok := got[path]
		if !ok {
			t.Errorf("%s: %q is missing", what, path)
		} else if g.What != w.What || g.Group != w.Group {
			t.Errorf("%s: %q is %s (links %q), want %s (links %q)", what, path, g.What, g.Group, w.What, w.Group)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %q should not be there", what, path)
		}
	}
}

// sameTimes fails where two trees differ in anything.
func sameTimes(t *testing.T, what string, got, want listing) {
	t.Helper()
	same(t, what, got, want)
	for path, w := range want {
		if g, ok := got[path]; ok && g.Mtime != w.Mtime {
			t.Errorf("%s: %q has the time %d, want %d", what, path, g.Mtime, w.Mtime)
		}
	}
}

// mounted calls f with the path of a mount's root.
func mounted(m snapshot.Mount, f func(root string) error) (err error) {
	if len(m.Lower) == 0 {
		return f(m.Source)
	}
	root, err := sys.OpenOverlay(sys.Overlay{Lower: m.Lower, Upper: m.Upper, Work: m.Work, UserXattr: m.UserXattr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return f(fmt.Sprintf("/proc/self/fd/%d", root.Fd()))
}

// shell runs a script with the root of a tree as its working directory.
func shell(script string) func(root string) error {
	return func(root string) error {
		dir, err := os.Open(root)
		if err != nil {
			return err
		}
		defer dir.Close()
		cmd := exec.Command("/bin/sh", "-euc", "cd /proc/self/fd/3/\n"+script)
		cmd.ExtraFiles = []*os.File{dir}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", script, err, out)
		}
		return nil
	}
}
