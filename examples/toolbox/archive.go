package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/md5"  //nolint:gosec // md5sum is asked for by name
	"crypto/sha1" //nolint:gosec // and so is sha1sum
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// archiver holds what tar's options say.
type archiver struct {
	p        *process
	o        *options
	strip    int
	exclude  []string
	uid, gid int
	mtime    time.Time
	links    map[inode]string
}

func tarTool(p *process) {
	if len(p.args) > 0 && !strings.HasPrefix(p.args[0], "-") {
		p.args[0] = "-" + p.args[0] // tar xzf
	}
	o := p.options("cxtzvf:C:pOhK:S:X:Y:G:NM:", map[string]byte{
		"create": 'c', "extract": 'x', "get": 'x', "list": 't', "gzip": 'z', "verbose": 'v', "file": 'f', "directory": 'C',
		"preserve-permissions": 'p', "to-stdout": 'O', "dereference": 'h', "strip-components": 'S', "exclude": 'X',
		"owner": 'Y', "group": 'G', "numeric-owner": 'N', "mtime": 'M', "sort": 'K',
	})
	a := &archiver{p: p, o: o, strip: int(o.number('S', 0)), exclude: o.values['X'], uid: -1, gid: -1, links: map[inode]string{}}
	if o.has("Y") {
		a.uid, _ = p.owner(o.value('Y'))
	}
	if o.has("G") {
		a.gid = p.group(o.value('G'))
	}
	if o.has("M") {
		a.mtime = p.parseTime(o.value('M'))
	}
	if o.has("K") && o.value('K') != "name" {
		p.die(2, "entries are always sorted by name")
	}
	switch {
	case o.has("c") && !o.has("xt"):
		a.create()
	case o.has("xt"):
		a.read()
	default:
		p.die(2, "one of -c, -x and -t is needed")
	}
}

func (a *archiver) create() {
	p := a.p
	if len(a.o.operands) == 0 {
		p.die(2, "nothing to archive")
	}
	out := io.Writer(p.out)
	if name := a.o.value('f'); name != "" && name != "-" {
		f, err := os.OpenFile(p.path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
		p.must(err)
		defer func() { p.must(f.Close()) }()
		out = f
	}
	if a.o.has("z") {
		z := gzip.NewWriter(out)
		defer func() { p.must(z.Close()) }()
		out = z
	}
	w := tar.NewWriter(out)
	for _, name := range a.o.operands {
		a.addTree(w, name)
	}
	p.must(w.Close())
}

// root is the directory that names in the archive are relative to.
func (a *archiver) root() string {
	if dir := a.o.value('C'); dir != "" {
		return a.p.path(dir)
	}
	if a.p.dir != "" {
		return a.p.dir
	}
	return "."
}

func (a *archiver) addTree(w *tar.Writer, name string) {
	root := name
	if !filepath.IsAbs(name) {
		root = a.root() + "/" + name
	}
	a.p.complain(filepath.WalkDir(root, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		stored := strings.TrimLeft(below(name, root, at), "/")
		if stored == "" {
			return nil
		}
		if a.excluded(stored) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return a.add(w, at, stored)
	}))
}

func (a *archiver) excluded(name string) bool {
	return slices.ContainsFunc(a.exclude, func(pattern string) bool {
		whole, _ := path.Match(pattern, name) // a bad pattern matches nothing
		base, _ := path.Match(pattern, path.Base(name))
		return whole || base
	})
}

func (a *archiver) add(w *tar.Writer, at, name string) error {
	info, err := os.Lstat(at)
	if err == nil && a.o.has("h") {
		info, err = os.Stat(at)
	}
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(at); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	a.describe(header, info, name)
	if a.o.has("v") {
		fmt.Fprintln(a.p.err, header.Name)
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	if header.Typeflag != tar.TypeReg {
		return nil
	}
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close() // opened for reading
	_, err = io.CopyN(w, f, header.Size)
	return err
}

// describe fills in what the options say about an entry.
func (a *archiver) describe(header *tar.Header, info fs.FileInfo, name string) {
	header.Name = name
	if info.IsDir() {
		header.Name = strings.TrimSuffix(name, "/") + "/"
	}
	header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
	header.ModTime = header.ModTime.Truncate(time.Second)
	if a.o.has("M") {
		header.ModTime = a.mtime
	}
	header.Format = tar.FormatGNU
	if a.uid >= 0 {
		header.Uid, header.Uname = a.uid, userName(a.uid)
	}
	if a.gid >= 0 {
		header.Gid, header.Gname = a.gid, groupName(a.gid)
	}
	if a.o.has("N") {
		header.Uname, header.Gname = "", ""
	}
	s := info.Sys().(*syscall.Stat_t)
	if info.IsDir() || s.Nlink < 2 || a.o.has("h") {
		return
	}
	key := inode{s.Dev, s.Ino}
	if first, ok := a.links[key]; ok {
		header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
	} else {
		a.links[key] = name
	}
}

func (a *archiver) read() {
	p := a.p
	in := p.in
	if name := a.o.value('f'); name != "" && name != "-" {
		f, err := os.Open(p.path(name))
		p.must(err)
		defer f.Close() // opened for reading
		in = f
	}
	b := bufio.NewReader(in)
	in = b
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		p.must(err)
		in = z
	}
	root, err := os.OpenRoot(a.root())
	p.must(err)
	defer root.Close() // nothing was written through it
	r := tar.NewReader(in)
	var dirs []*tar.Header
	for {
		header, err := r.Next()
		if err == io.EOF {
			break
		}
		p.must(err)
		if !a.wants(header) {
			continue
		}
		if a.o.has("t") || a.o.has("v") {
			a.show(header)
		}
		switch {
		case a.o.has("t"):
		case a.o.has("O"):
			_, err = io.Copy(p.out, r)
		default:
			err = a.extract(root, header, r)
			if header.Typeflag == tar.TypeDir {
				dirs = append(dirs, header)
			}
		}
		p.complain(err)
	}
	for _, header := range slices.Backward(dirs) { // their times last
		p.complain(root.Chtimes(header.Name, header.ModTime, header.ModTime))
	}
}

// wants applies --strip-components, --exclude and the operands to an entry.
func (a *archiver) wants(header *tar.Header) bool {
	name := path.Clean(strings.TrimLeft(header.Name, "/"))
	if len(a.o.operands) > 0 && !slices.ContainsFunc(a.o.operands, func(o string) bool {
		o = path.Clean(o)
		return name == o || strings.HasPrefix(name, o+"/")
	}) {
		return false
	}
	if a.excluded(name) {
		return false
	}
	if a.o.has("t") {
		return true
	}
	parts := strings.Split(name, "/")
	if len(parts) <= a.strip {
		return false
	}
	header.Name = strings.Join(parts[a.strip:], "/")
	if header.Typeflag == tar.TypeLink {
		target := strings.Split(path.Clean(strings.TrimLeft(header.Linkname, "/")), "/")
		header.Linkname = strings.Join(target[min(a.strip, len(target)-1):], "/")
	}
	return true
}

func (a *archiver) show(header *tar.Header) {
	if !a.o.has("t") || !a.o.has("v") {
		a.p.println(header.Name)
		return
	}
	info := header.FileInfo()
	owner, group := header.Uname, header.Gname
	if owner == "" {
		owner = strconv.Itoa(header.Uid)
	}
	if group == "" {
		group = strconv.Itoa(header.Gid)
	}
	kinds := map[byte]uint32{tar.TypeDir: unix.S_IFDIR, tar.TypeSymlink: unix.S_IFLNK}
	a.p.printf("%s %s/%s %8d %s %s", modeString(uint32(header.Mode)|kinds[header.Typeflag]), owner, group,
		info.Size(), header.ModTime.UTC().Format("2006-01-02 15:04"), header.Name)
	switch header.Typeflag {
	case tar.TypeSymlink:
		a.p.printf(" -> %s", header.Linkname)
	case tar.TypeLink:
		a.p.printf(" link to %s", header.Linkname)
	}
	a.p.println("")
}

// extract writes one entry below root, which nothing in the archive escapes.
func (a *archiver) extract(root *os.Root, header *tar.Header, r io.Reader) error {
	name := header.Name
	if name == "." {
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return err
	}
	if header.Typeflag != tar.TypeDir {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	var err error
	switch header.Typeflag {
	case tar.TypeDir:
		if err = root.Mkdir(name, 0o777); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	case tar.TypeReg:
		err = extractFile(root, name, r)
	case tar.TypeSymlink:
		err = root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		return root.Link(path.Clean(header.Linkname), name)
	default:
		return fmt.Errorf("%s: files of type %q are not supported", name, header.Typeflag)
	}
	if err != nil {
		return err
	}
	return a.finish(root, header)
}

func extractFile(root *os.Root, name string, r io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func (a *archiver) finish(root *os.Root, header *tar.Header) error {
	asRoot := os.Geteuid() == 0
	if asRoot {
		if err := root.Lchown(header.Name, header.Uid, header.Gid); err != nil {
			return err
		}
	}
	if header.Typeflag == tar.TypeSymlink {
		return nil
	}
	mode := header.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if !asRoot && !a.o.has("p") {
		mode = mode.Perm() &^ fs.FileMode(umaskNow())
	}
	if err := root.Chmod(header.Name, mode); err != nil {
		return err
	}
	return root.Chtimes(header.Name, header.ModTime, header.ModTime)
}

func gzipTool(p *process) {
	o := p.options("dcfknt123456789", map[string]byte{
		"decompress": 'd', "stdout": 'c', "force": 'f', "keep": 'k', "no-name": 'n', "test": 't', "fast": '1', "best": '9',
	})
	level := gzip.DefaultCompression
	for n := range 9 {
		if o.has(strconv.Itoa(n + 1)) {
			level = n + 1
		}
	}
	decompress := p.name == "gunzip" || p.name == "zcat" || o.has("dt")
	if len(o.operands) == 0 || p.name == "zcat" || o.has("ct") {
		out := io.Writer(p.out)
		if o.has("t") {
			out = io.Discard
		}
		p.each(o.operands, func(_ string, r io.Reader) error { return recode(out, r, level, decompress) })
		return
	}
	for _, name := range o.operands {
		p.complain(p.recodeFile(o, name, level, decompress))
	}
}

func recode(out io.Writer, in io.Reader, level int, decompress bool) error {
	if decompress {
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, z)
		return err
	}
	z, err := gzip.NewWriterLevel(out, level)
	if err != nil {
		return err
	}
	_, err = io.Copy(z, in)
	return errors.Join(err, z.Close())
}

func (p *process) recodeFile(o *options, name string, level int, decompress bool) error {
	target := name + ".gz"
	if decompress {
		var ok bool
		if target, ok = strings.CutSuffix(name, ".gz"); !ok {
			return fmt.Errorf("%s: unknown suffix", name)
		}
	}
	in, err := p.open(name)
	if err != nil {
		return err
	}
	defer in.Close() // opened for reading
	info, err := os.Stat(p.path(name))
	if err != nil {
		return err
	}
	if o.has("f") {
		if err := os.Remove(p.path(target)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	out, err := os.OpenFile(p.path(target), os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	if err := errors.Join(recode(out, in, level, decompress), out.Close()); err != nil {
		return errors.Join(err, os.Remove(p.path(target)))
	}
	if err := os.Chtimes(p.path(target), time.Time{}, info.ModTime()); err != nil || o.has("k") {
		return err
	}
	return os.Remove(p.path(name))
}

func checksum(p *process) {
	hashes := map[string]func() hash.Hash{
		"md5sum": md5.New, "sha1sum": sha1.New, "sha256sum": sha256.New, "sha512sum": sha512.New,
	}
	fresh := hashes[p.name]
	o := p.options("cb", map[string]byte{"check": 'c', "binary": 'b'})
	sum := func(r io.Reader) (string, error) {
		h := fresh()
		_, err := io.Copy(h, r)
		return hex.EncodeToString(h.Sum(nil)), err
	}
	if !o.has("c") {
		p.each(o.operands, func(name string, r io.Reader) error {
			digest, err := sum(r)
			if err == nil {
				p.printf("%s  %s\n", digest, name)
			}
			return err
		})
		return
	}
	p.each(o.operands, func(_ string, list io.Reader) error {
		return eachLine(list, func(line string) bool {
			want, name, ok := strings.Cut(line, " ")
			if !ok || len(name) < 2 {
				p.complain(fmt.Errorf("no checksum line: %q", line))
				return true
			}
			name = name[1:]
			r, err := p.open(name)
			if err == nil {
				var got string
				got, err = sum(r)
				err = errors.Join(err, r.Close())
				if err == nil && got != want {
					err = errors.New("checksum differs")
				}
			}
			if err != nil {
				p.printf("%s: FAILED\n", name)
				p.complain(err)
				return true
			}
			p.printf("%s: OK\n", name)
			return true
		})
	})
}

func base64Tool(p *process) {
	o := p.options("dw:", map[string]byte{"decode": 'd', "wrap": 'w'})
	width := int(o.number('w', 76))
	p.each(o.operands, func(_ string, r io.Reader) error {
		if o.has("d") {
			_, err := io.Copy(p.out, base64.NewDecoder(base64.StdEncoding, r))
			return err
		}
		data, err := io.ReadAll(r)
		text := base64.StdEncoding.EncodeToString(data)
		for ; width > 0 && len(text) > width; text = text[width:] {
			p.println(text[:width])
		}
		p.out.WriteString(text) //nolint:errcheck // brokenPipe panics instead
		if width > 0 && text != "" {
			p.println("")
		}
		return err
	})
}
