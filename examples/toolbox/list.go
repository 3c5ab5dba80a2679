package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An entry is a name to list.
type entry struct {
	name string // as it is printed
	path string
	info fs.FileInfo
}

func (e entry) stat() *syscall.Stat_t { return e.info.Sys().(*syscall.Stat_t) }

func ls(p *process) {
	o := p.options("aAldR1nihtSrFpL", map[string]byte{
		"all": 'a', "almost-all": 'A', "directory": 'd', "recursive": 'R', "numeric-uid-gid": 'n', "inode": 'i',
		"human-readable": 'h', "reverse": 'r', "classify": 'F', "dereference": 'L',
	})
	if len(o.operands) == 0 {
		o.operands = []string{"."}
	}
	var files, dirs []entry
	for _, name := range o.operands {
		path := p.path(name)
		info, err := os.Lstat(path)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 && (o.has("L") || !o.has("ld")) {
			if to, err := os.Stat(path); err == nil {
				info = to
			}
		}
		switch e := (entry{name, path, info}); {
		case err != nil:
			p.complain(err)
			p.status = 2
		case info.IsDir() && !o.has("d"):
			dirs = append(dirs, e)
		default:
			files = append(files, e)
		}
	}
	p.list(o, files)
	headers := len(files)+len(dirs) > 1 || o.has("R")
	for i, dir := range order(o, dirs) {
		if i > 0 || len(files) > 0 {
			p.println("")
		}
		p.listDir(o, dir, headers)
	}
}

func (p *process) listDir(o *options, dir entry, header bool) {
	if header {
		p.println(dir.name + ":")
	}
	found, err := os.ReadDir(dir.path)
	p.complain(err)
	var entries []entry
	add := func(name string) {
		path := filepath.Join(dir.path, name)
		info, err := os.Lstat(path)
		if err != nil {
			p.complain(err)
			return
		}
		entries = append(entries, entry{name, path, info})
	}
	if o.has("a") {
		add(".")
		add("..")
	}
	for _, e := range found {
		if !strings.HasPrefix(e.Name(), ".") || o.has("aA") {
			add(e.Name())
		}
	}
	if o.has("ln") {
		var blocks int64
		for _, e := range entries {
			blocks += e.stat().Blocks
		}
		p.printf("total %d\n", blocks/2)
	}
	p.list(o, entries)
	if !o.has("R") {
		return
	}
	for _, e := range order(o, entries) {
		if e.info.IsDir() && e.name != "." && e.name != ".." {
			p.println("")
			e.name = strings.TrimSuffix(dir.name, "/") + "/" + e.name
			p.listDir(o, e, true)
		}
	}
}

func order(o *options, entries []entry) []entry {
	slices.SortStableFunc(entries, func(a, b entry) int {
		c := 0
		switch {
		case o.has("t"):
			c = b.info.ModTime().Compare(a.info.ModTime())
		case o.has("S"):
			c = cmp.Compare(b.info.Size(), a.info.Size())
		}
		return cmp.Or(c, strings.Compare(a.name, b.name))
	})
	if o.has("r") {
		slices.Reverse(entries)
	}
	return entries
}

// list prints entries, one a line, with columns as wide as they need to be.
func (p *process) list(o *options, entries []entry) {
	var rows [][]string
	for _, e := range order(o, entries) {
		var row []string
		if o.has("i") {
			row = append(row, strconv.FormatUint(e.stat().Ino, 10))
		}
		if o.has("ln") {
			row = append(row, e.long(o)...)
		}
		rows = append(rows, append(row, e.label(o)))
	}
	widths := map[int]int{}
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	owner := 2
	if o.has("i") {
		owner++
	}
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			width := widths[i]
			if o.has("ln") && !o.has("n") && (i == owner || i == owner+1) {
				width = -width
			}
			p.printf("%*s ", width, cell)
		}
		p.println(row[len(row)-1])
	}
}

func (e entry) long(o *options) []string {
	stat := e.stat()
	uid, gid := strconv.Itoa(int(stat.Uid)), strconv.Itoa(int(stat.Gid))
	if !o.has("n") {
		uid, gid = userName(int(stat.Uid)), groupName(int(stat.Gid))
	}
	size := strconv.FormatInt(stat.Size, 10)
	switch {
	case e.info.Mode()&fs.ModeDevice != 0:
		size = fmt.Sprintf("%d,%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
	case o.has("h"):
		size = human(stat.Size)
	}
	when := e.info.ModTime()
	layout := "Jan _2 15:04"
	if age := time.Since(when); age > 180*24*time.Hour || age < 0 {
		layout = "Jan _2  2006"
	}
	return []string{modeString(stat.Mode), strconv.FormatUint(uint64(stat.Nlink), 10), uid, gid, size, when.Format(layout)}
}

func (e entry) label(o *options) string {
	label := e.name
	mode := e.info.Mode()
	switch {
	case mode.IsDir() && o.has("Fp"):
		label += "/"
	case mode&fs.ModeSymlink != 0 && o.has("ln"):
		if to, err := os.Readlink(e.path); err == nil {
			label += " -> " + to
		}
	case mode&fs.ModeSymlink != 0 && o.has("F"):
		label += "@"
	case mode&fs.ModeNamedPipe != 0 && o.has("F"):
		label += "|"
	case mode.IsRegular() && mode&0o111 != 0 && o.has("F"):
		label += "*"
	}
	return label
}

func human(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	size := float64(n)
	unit := -1
	for size >= 1024 && unit < 4 {
		size /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f%c", size, "KMGTP"[unit])
}

// modeString writes a mode as ls does: drwxr-xr-x.
func modeString(mode uint32) string {
	kinds := map[uint32]byte{
		unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFCHR: 'c', unix.S_IFBLK: 'b', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's',
	}
	text := []byte("-rwxrwxrwx")
	if kind, ok := kinds[mode&unix.S_IFMT]; ok {
		text[0] = kind
	}
	for i := range 9 {
		if mode&(0o400>>i) == 0 {
			text[i+1] = '-'
		}
	}
	special := func(bit uint32, at int, set, alone byte) {
		if mode&bit == 0 {
			return
		}
		if text[at] == 'x' {
			text[at] = set
		} else {
			text[at] = alone
		}
	}
	special(unix.S_ISUID, 3, 's', 'S')
	special(unix.S_ISGID, 6, 's', 'S')
	special(unix.S_ISVTX, 9, 't', 'T')
	return string(text)
}

func stat(p *process) {
	o := p.options("c:L", map[string]byte{"format": 'c', "dereference": 'L'})
	o.need(1)
	format := "  File: %N\n  Size: %s\tInode: %i\tLinks: %h\tType: %F\nAccess: (%a/%A)\tUid: %u (%U)\tGid: %g (%G)\nModify: %y"
	if o.has("c") {
		format = o.value('c')
	}
	for _, name := range o.operands {
		info, err := os.Lstat(p.path(name))
		if err == nil && o.has("L") {
			info, err = os.Stat(p.path(name))
		}
		if err != nil {
			p.complain(err)
			continue
		}
		p.println(p.formatStat(format, entry{name, p.path(name), info}))
	}
}

func (p *process) formatStat(format string, e entry) string {
	s := e.stat()
	var text strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			text.WriteByte(format[i])
			continue
		}
		i++
		switch format[i] {
		case '%':
			text.WriteByte('%')
		case 'n':
			text.WriteString(e.name)
		case 'N':
			text.WriteString("'" + e.name + "'")
			if to, err := os.Readlink(e.path); err == nil && e.info.Mode()&fs.ModeSymlink != 0 {
				text.WriteString(" -> '" + to + "'")
			}
		case 'a':
			fmt.Fprintf(&text, "%o", s.Mode&0o7777)
		case 'f':
			fmt.Fprintf(&text, "%x", s.Mode)
		case 'A':
			text.WriteString(modeString(s.Mode))
		case 's':
			fmt.Fprint(&text, s.Size)
		case 'b':
			fmt.Fprint(&text, s.Blocks)
		case 'u':
			fmt.Fprint(&text, s.Uid)
		case 'g':
			fmt.Fprint(&text, s.Gid)
		case 'U':
			text.WriteString(userName(int(s.Uid)))
		case 'G':
			text.WriteString(groupName(int(s.Gid)))
		case 'h':
			fmt.Fprint(&text, s.Nlink)
		case 'i':
			fmt.Fprint(&text, s.Ino)
		case 'd':
			fmt.Fprint(&text, s.Dev)
		case 't':
			fmt.Fprintf(&text, "%x", unix.Major(s.Rdev))
		case 'T':
			fmt.Fprintf(&text, "%x", unix.Minor(s.Rdev))
		case 'F':
			text.WriteString(kindName(s))
		case 'X':
			fmt.Fprint(&text, s.Atim.Sec)
		case 'Y':
			fmt.Fprint(&text, s.Mtim.Sec)
		case 'Z':
			fmt.Fprint(&text, s.Ctim.Sec)
		case 'y':
			text.WriteString(e.info.ModTime().Format("2006-01-02 15:04:05.000000000 -0700"))
		default:
			p.die(2, "unknown directive %%%c", format[i])
		}
	}
	return text.String()
}

func kindName(s *syscall.Stat_t) string {
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFCHR:
		return "character special file"
	case unix.S_IFBLK:
		return "block special file"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	if s.Size == 0 {
		return "regular empty file"
	}
	return "regular file"
}
