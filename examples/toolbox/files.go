package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func ln(p *process) {
	o := p.options("sfnTrt:", map[string]byte{
		"symbolic": 's', "force": 'f', "no-dereference": 'n', "no-target-directory": 'T', "relative": 'r', "target-directory": 't',
	})
	if len(o.operands) == 1 {
		o.operands = append(o.operands, ".")
	}
	if last := len(o.operands) - 1; o.has("n") && last == 1 {
		if info, err := os.Lstat(p.path(o.operands[last])); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			o.add('T', "")
		}
	}
	given := map[string]string{} // full source path -> as the user wrote it
	for _, name := range o.operands {
		given[p.path(name)] = name
	}
	o.intoEach(func(source, target string) {
		if o.has("f") {
			if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
				p.complain(err)
				return
			}
		}
		if !o.has("s") {
			p.complain(os.Link(source, target))
			return
		}
		text := given[source]
		if o.has("r") {
			relative, err := filepath.Rel(filepath.Dir(p.absolute(target)), p.absolute(source))
			p.must(err)
			text = relative
		}
		p.complain(os.Symlink(text, target))
	})
}

func (p *process) absolute(path string) string {
	abs, err := filepath.Abs(p.path(path))
	p.must(err)
	return abs
}

func rm(p *process) {
	o := p.options("rRfvdi", map[string]byte{"recursive": 'r', "force": 'f', "verbose": 'v', "dir": 'd'})
	if o.has("i") {
		p.die(2, "-i is not supported")
	}
	if !o.has("f") {
		o.need(1)
	}
	for _, name := range o.operands {
		p.complain(p.remove(o, name))
	}
}

func (p *process) remove(o *options, name string) error {
	if base := filepath.Base(name); base == "." || base == ".." || base == "/" {
		return fmt.Errorf("refusing to remove %q", name)
	}
	path := p.path(name)
	info, err := os.Lstat(path)
	if o.has("f") && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case !info.IsDir():
		err = syscall.Unlink(strings.TrimSuffix(path, "/"))
	case o.has("rR"):
		err = os.RemoveAll(path)
	case o.has("d"):
		err = syscall.Rmdir(path)
	default:
		err = syscall.EISDIR
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = &fs.PathError{Op: "remove", Path: name, Err: errno}
	}
	if err == nil && o.has("v") {
		p.printf("removed '%s'\n", name)
	}
	return err
}

func mkdir(p *process) {
	o := p.options("pm:v", map[string]byte{"parents": 'p', "mode": 'm', "verbose": 'v'})
	o.need(1)
	for _, name := range o.operands {
		path := p.path(name)
		info, err := os.Stat(path)
		if err == nil && info.IsDir() && o.has("p") {
			continue
		}
		if o.has("p") {
			err = os.MkdirAll(path, 0o777)
		} else {
			err = os.Mkdir(path, 0o777)
		}
		if err == nil && o.has("m") {
			info, err = os.Stat(path)
			if err == nil {
				err = syscall.Chmod(path, p.mode(o.value('m'), info))
			}
		}
		if err == nil && o.has("v") {
			p.printf("created directory '%s'\n", name)
		}
		p.complain(err)
	}
}

func rmdir(p *process) {
	o := p.options("p", map[string]byte{"parents": 'p'})
	o.need(1)
	for _, name := range o.operands {
		for {
			if err := syscall.Rmdir(p.path(name)); err != nil {
				p.complain(&fs.PathError{Op: "rmdir", Path: name, Err: err})
				break
			}
			name = filepath.Dir(name)
			if !o.has("p") || name == "." || name == "/" {
				break
			}
		}
	}
}

func touch(p *process) {
	o := p.options("acmhd:r:t:", map[string]byte{"no-create": 'c', "date": 'd', "reference": 'r', "no-dereference": 'h'})
	o.need(1)
	stamp := unix.NsecToTimespec(time.Now().UnixNano())
	times := []unix.Timespec{stamp, stamp}
	switch {
	case o.has("r"):
		info, err := os.Stat(p.path(o.value('r')))
		p.must(err)
		stat := info.Sys().(*syscall.Stat_t)
		times = []unix.Timespec{unix.Timespec(stat.Atim), unix.Timespec(stat.Mtim)}
	case o.has("d"):
		stamp = unix.NsecToTimespec(p.parseTime(o.value('d')).UnixNano())
		times = []unix.Timespec{stamp, stamp}
	case o.has("t"):
		stamp = unix.NsecToTimespec(p.parseStamp(o.value('t')).UnixNano())
		times = []unix.Timespec{stamp, stamp}
	}
	if o.has("a") && !o.has("m") {
		times[1].Nsec = unix.UTIME_OMIT
	}
	if o.has("m") && !o.has("a") {
		times[0].Nsec = unix.UTIME_OMIT
	}
	flags := 0
	if o.has("h") {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	for _, name := range o.operands {
		p.complain(p.touch(name, times, flags, !o.has("ch")))
	}
}

func (p *process) touch(name string, times []unix.Timespec, flags int, create bool) error {
	path := p.path(name)
	err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, flags)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return nil
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		return p.touch(name, times, flags, false)
	}
	if err != nil {
		return &fs.PathError{Op: "touch", Path: name, Err: err}
	}
	return nil
}

func mktemp(p *process) {
	o := p.options("dup:tq", map[string]byte{"directory": 'd', "dry-run": 'u', "tmpdir": 'p', "quiet": 'q'})
	template, dir := "tmp.XXXXXXXXXX", ""
	if len(o.operands) > 0 {
		template = o.operands[0]
	}
	if len(o.operands) == 0 || o.has("tp") {
		dir = o.value('p')
		if dir == "" {
			dir = p.getenv("TMPDIR")
		}
		if dir == "" {
			dir = "/tmp"
		}
	}
	stem := strings.TrimRight(template, "X")
	if len(template)-len(stem) < 3 {
		p.die(1, "too few X's in template %q", template)
	}
	for range 100 {
		name := filepath.Join(dir, stem+randomName(len(template)-len(stem)))
		var err error
		switch path := p.path(name); {
		case o.has("u"):
		case o.has("d"):
			err = os.Mkdir(path, 0o700)
		default:
			var f *os.File
			if f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
				err = f.Close()
			}
		}
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		p.must(err)
		p.println(name)
		return
	}
	p.die(1, "no free name for %q", template)
}
