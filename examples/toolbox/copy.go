package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A copier copies trees.
type copier struct {
	p         *process
	recursive bool
	follow    bool // copy what symbolic links point to
	preserve  bool // mode, owner and times
	force     bool // remove what cannot be opened for writing
	keep      bool // leave what exists
	verbose   bool
	links     map[inode]string // first copy of a file with several names, if they are kept together
}

type inode struct{ dev, ino uint64 }

func cp(p *process) {
	o := p.options("rRapfnvdPLTt:", map[string]byte{
		"recursive": 'r', "archive": 'a', "preserve": 'p', "force": 'f', "no-clobber": 'n', "verbose": 'v',
		"no-dereference": 'P', "dereference": 'L', "no-target-directory": 'T', "target-directory": 't',
	})
	c := &copier{
		p: p, recursive: o.has("rRa"), preserve: o.has("pa"), force: o.has("f"), keep: o.has("n"), verbose: o.has("v"),
		follow: o.has("L") || !o.has("rRadP"),
	}
	if o.has("ad") {
		c.links = map[inode]string{}
	}
	o.intoEach(func(source, target string) {
		p.complain(c.copy(source, target))
	})
}

func mv(p *process) {
	o := p.options("fnvTt:", map[string]byte{
		"force": 'f', "no-clobber": 'n', "verbose": 'v', "no-target-directory": 'T', "target-directory": 't',
	})
	o.intoEach(func(source, target string) {
		if _, err := os.Lstat(target); err == nil && o.has("n") {
			return
		}
		err := os.Rename(source, target)
		if errors.Is(err, syscall.EXDEV) {
			err = p.moveAcross(source, target)
		}
		if err == nil && o.has("v") {
			p.printf("renamed '%s' -> '%s'\n", source, target)
		}
		p.complain(err)
	})
}

// moveAcross moves to another file system, or out of an overlay's lower layer.
func (p *process) moveAcross(source, target string) error {
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c := &copier{p: p, recursive: true, preserve: true, links: map[inode]string{}}
	if err := c.copy(source, target); err != nil {
		return err
	}
	return os.RemoveAll(source)
}

// intoEach calls do with each source and its target: the last operand, or the
// name of the same base in it if it is a directory.
func (o *options) intoEach(do func(source, target string)) {
	target := o.value('t')
	if target == "" {
		o.need(2)
		target = o.operands[len(o.operands)-1]
		o.operands = o.operands[:len(o.operands)-1]
	}
	info, err := os.Stat(o.p.path(target))
	directory := err == nil && info.IsDir() && !o.has("T")
	if !directory && (len(o.operands) > 1 || o.value('t') != "") {
		o.p.die(1, "%s: not a directory", target)
	}
	for _, source := range o.operands {
		to := o.p.path(target)
		if directory {
			to = filepath.Join(to, filepath.Base(source))
		}
		do(o.p.path(source), to)
	}
}

func (c *copier) copy(source, target string) error {
	info, err := os.Lstat(source)
	if err == nil && c.follow {
		info, err = os.Stat(source)
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		if !c.recursive {
			return fmt.Errorf("%s is a directory (not copied; use -r)", source)
		}
		if within(target, source) {
			return fmt.Errorf("cannot copy %s into itself, %s", source, target)
		}
	}
	if to, err := os.Stat(target); err == nil && os.SameFile(info, to) {
		return fmt.Errorf("%s and %s are the same file", source, target)
	}
	return c.copyEntry(source, target, info)
}

// within tells whether path is root or below it.
func within(path, root string) bool {
	path, err1 := filepath.Abs(path)
	root, err2 := filepath.Abs(root)
	return err1 == nil && err2 == nil && (path == root || strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/"))
}

func (c *copier) copyEntry(source, target string, info fs.FileInfo) error {
	existing, err := os.Lstat(target)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && c.keep && !info.IsDir():
		return nil
	case err == nil && info.IsDir() && !existing.IsDir():
		if to, err := os.Stat(target); err != nil || !to.IsDir() {
			return fmt.Errorf("%s: not a directory", target)
		}
	case err == nil && !info.IsDir() && existing.IsDir():
		return fmt.Errorf("%s: is a directory", target)
	}
	if linked, err := c.linkAgain(target, info); linked || err != nil {
		return err
	}
	if c.verbose {
		c.p.printf("'%s' -> '%s'\n", source, target)
	}
	switch kind := info.Mode().Type(); {
	case kind == fs.ModeDir:
		return c.copyDir(source, target, info)
	case kind == fs.ModeSymlink:
		err = c.copyLink(source, target)
	case kind == 0:
		err = c.copyFile(source, target, info)
	default:
		err = c.copyNode(target, info)
	}
	if err != nil {
		return err
	}
	return c.finish(target, info)
}

// linkAgain makes target a hard link if another name of the file was copied.
func (c *copier) linkAgain(target string, info fs.FileInfo) (bool, error) {
	stat := info.Sys().(*syscall.Stat_t)
	if c.links == nil || info.IsDir() || stat.Nlink < 2 {
		return false, nil
	}
	key := inode{stat.Dev, stat.Ino}
	first, ok := c.links[key]
	if !ok {
		c.links[key] = target
		return false, nil
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, err
	}
	return true, os.Link(first, target)
}

func (c *copier) copyDir(source, target string, info fs.FileInfo) error {
	err := os.Mkdir(target, info.Mode().Perm()|0o700)
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		from, to := filepath.Join(source, entry.Name()), filepath.Join(target, entry.Name())
		info, err := os.Lstat(from)
		if err == nil && c.follow {
			info, err = os.Stat(from)
		}
		if err == nil {
			err = c.copyEntry(from, to, info)
		}
		c.p.complain(err)
	}
	if !made && !c.preserve {
		return nil
	}
	return c.finish(target, info)
}

func (c *copier) copyLink(source, target string) error {
	to, err := os.Readlink(source)
	if err != nil {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(to, target)
}

func (c *copier) copyFile(source, target string, info fs.FileInfo) error {
	from, err := os.Open(source)
	if err != nil {
		return err
	}
	defer from.Close() // opened for reading
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
	if err != nil && c.force {
		if err := os.Remove(target); err != nil {
			return err
		}
		to, err = os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// copyNode copies a device or a named pipe.
func (c *copier) copyNode(target string, info fs.FileInfo) error {
	stat := info.Sys().(*syscall.Stat_t)
	if err := unix.Mknod(target, stat.Mode, int(stat.Rdev)); err != nil {
		return &fs.PathError{Op: "mknod", Path: target, Err: err}
	}
	return nil
}

// finish gives target the metadata of what it was copied from.
func (c *copier) finish(target string, info fs.FileInfo) error {
	link := info.Mode()&fs.ModeSymlink != 0
	if !c.preserve {
		if !info.IsDir() {
			return nil
		}
		return os.Chmod(target, info.Mode().Perm()&^os.FileMode(umaskNow()))
	}
	stat := info.Sys().(*syscall.Stat_t)
	if err := os.Lchown(target, int(stat.Uid), int(stat.Gid)); err != nil && os.Geteuid() == 0 {
		return err
	}
	if !link {
		if err := os.Chmod(target, info.Mode()); err != nil {
			return err
		}
	}
	times := []unix.Timespec{unix.Timespec(stat.Atim), unix.Timespec(stat.Mtim)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, target, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: target, Err: err}
	}
	return nil
}

// umaskNow returns the file creation mask.
func umaskNow() int {
	mask := syscall.Umask(0o22)
	syscall.Umask(mask)
	return mask
}

func installFile(p *process) {
	o := p.options("dDm:o:g:vpt:Tc", map[string]byte{
		"directory": 'd', "mode": 'm', "owner": 'o', "group": 'g', "verbose": 'v', "preserve-timestamps": 'p',
		"target-directory": 't', "no-target-directory": 'T',
	})
	mode := "755"
	if o.has("m") {
		mode = o.value('m')
	}
	finish := func(path string) {
		info, err := os.Stat(path)
		p.must(err)
		uid, gid := -1, -1
		if o.has("o") {
			uid, _ = p.owner(o.value('o'))
		}
		if o.has("g") {
			gid = p.group(o.value('g'))
		}
		p.must(os.Chown(path, uid, gid))
		p.must(syscall.Chmod(path, p.mode(mode, info)))
	}
	if o.has("d") {
		o.need(1)
		for _, dir := range o.operands {
			p.must(os.MkdirAll(p.path(dir), 0o755))
			finish(p.path(dir))
		}
		return
	}
	if o.has("D") && len(o.operands) == 2 {
		p.must(os.MkdirAll(filepath.Dir(p.path(o.operands[1])), 0o755))
	}
	c := &copier{p: p, follow: true, force: true, verbose: o.has("v")}
	o.intoEach(func(source, target string) {
		if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.must(err)
		}
		p.must(c.copy(source, target))
		finish(target)
		if info, err := os.Stat(source); err == nil && o.has("p") {
			p.must(os.Chtimes(target, time.Time{}, info.ModTime()))
		}
	})
}
