package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func chmod(p *process) {
	// "-x" is a mode, not an option.
	var args []string
	recursive := false
	for i, arg := range p.args {
		switch {
		case arg == "-R" || arg == "--recursive":
			recursive = true
		case arg == "--":
			args = append(args, p.args[i+1:]...)
		case strings.HasPrefix(arg, "-") && len(args) == 0 && strings.Trim(arg[1:], "rwxXstugoa,+-=") != "":
			p.die(2, "unknown option %s", arg)
		default:
			args = append(args, arg)
			continue
		}
		if arg == "--" {
			break
		}
	}
	if len(args) < 2 {
		p.die(2, "missing operand")
	}
	for _, name := range args[1:] {
		p.walkOwn(name, recursive, func(path string, info fs.FileInfo) error {
			if info.Mode()&fs.ModeSymlink != 0 {
				if path != p.path(name) {
					return nil // chmod follows links that are named, and no other
				}
				var err error
				if info, err = os.Stat(path); err != nil {
					return err
				}
			}
			if err := syscall.Chmod(path, p.mode(args[0], info)); err != nil {
				return &fs.PathError{Op: "chmod", Path: path, Err: err}
			}
			return nil
		})
	}
}

// walkOwn calls do with name and, if recursive, with all that is below it.
func (p *process) walkOwn(name string, recursive bool, do func(path string, info fs.FileInfo) error) {
	p.complain(filepath.WalkDir(p.path(name), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			err = do(path, info)
		}
		p.complain(err)
		if entry.IsDir() && !recursive {
			return fs.SkipDir
		}
		return nil
	}))
}

// below gives a file found at path the name that it has for somebody who calls
// the root of the search name.
func below(name, root, path string) string {
	rel, err := filepath.Rel(root, path)
	if err != nil || rel == "." {
		return name
	}
	return strings.TrimSuffix(name, "/") + "/" + rel
}

// mode applies a mode as chmod writes it, octal or symbolic, to a file's.
func (p *process) mode(text string, info fs.FileInfo) uint32 {
	if n, err := strconv.ParseUint(text, 8, 32); err == nil && n <= 0o7777 {
		return uint32(n)
	}
	old := info.Sys().(*syscall.Stat_t).Mode & 0o7777
	for clause := range strings.SplitSeq(text, ",") {
		next, ok := applyMode(old, clause, info.IsDir())
		if !ok {
			p.die(2, "invalid mode %q", text)
		}
		old = next
	}
	return old
}

// applyMode applies one clause of a symbolic mode, such as "u+x" or "go=u-w".
func applyMode(mode uint32, clause string, directory bool) (uint32, bool) {
	at := strings.IndexAny(clause, "+-=")
	if at < 0 {
		return 0, false
	}
	var who uint32
	for _, c := range clause[:at] {
		switch c {
		case 'u':
			who |= 0o4700
		case 'g':
			who |= 0o2070
		case 'o':
			who |= 0o1007
		case 'a':
			who |= 0o7777
		default:
			return 0, false
		}
	}
	mask := ^uint32(0)
	if who == 0 {
		who, mask = 0o7777, ^uint32(umaskNow())
	}
	for clause = clause[at:]; clause != ""; {
		op := clause[0]
		end := strings.IndexAny(clause[1:], "+-=") + 1
		if end == 0 {
			end = len(clause)
		}
		bits, ok := modeBits(clause[1:end], mode, directory)
		if !ok {
			return 0, false
		}
		bits &= who & mask
		switch op {
		case '+':
			mode |= bits
		case '-':
			mode &^= bits
		case '=':
			cleared := who & 0o6777
			if directory {
				cleared &= 0o777 // a directory keeps its set-group-ID bit
			}
			mode = mode&^cleared | bits
		}
		clause = clause[end:]
	}
	return mode, true
}

func modeBits(letters string, mode uint32, directory bool) (uint32, bool) {
	var bits uint32
	for _, c := range letters {
		switch c {
		case 'r':
			bits |= 0o444
		case 'w':
			bits |= 0o222
		case 'x':
			bits |= 0o111
		case 'X':
			if directory || mode&0o111 != 0 {
				bits |= 0o111
			}
		case 's':
			bits |= 0o6000
		case 't':
			bits |= 0o1000
		case 'u':
			bits |= mode >> 6 & 7 * 0o111
		case 'g':
			bits |= mode >> 3 & 7 * 0o111
		case 'o':
			bits |= mode & 7 * 0o111
		default:
			return 0, false
		}
	}
	return bits, true
}

func chown(p *process) {
	o := p.options("Rh", map[string]byte{"recursive": 'R', "no-dereference": 'h'})
	o.need(2)
	uid, gid := p.owner(o.split())
	p.chownAll(o, uid, gid)
}

func chgrp(p *process) {
	o := p.options("Rh", map[string]byte{"recursive": 'R', "no-dereference": 'h'})
	o.need(2)
	gid := p.group(o.split())
	p.chownAll(o, -1, gid)
}

func (p *process) chownAll(o *options, uid, gid int) {
	for _, name := range o.operands {
		p.walkOwn(name, o.has("R"), func(path string, _ fs.FileInfo) error {
			if o.has("h") || o.has("R") && path != p.path(name) {
				return os.Lchown(path, uid, gid)
			}
			return os.Chown(path, uid, gid)
		})
	}
}
