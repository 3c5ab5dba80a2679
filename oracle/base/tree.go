package base

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path"
	"strings"
	"time"
)

// stamp is the time of every file and of every image: late in 2001.
var stamp = time.Unix(1_000_000_000, 0).UTC()

// tree collects the entries of one layer.
type tree struct {
	buf bytes.Buffer
	tw  *tar.Writer
	err error
}

func newTree() *tree {
	t := &tree{}
	t.tw = tar.NewWriter(&t.buf)
	return t
}

// add writes one entry; the first error stays.
func (t *tree) add(h tar.Header, content string) {
	if t.err != nil {
		return
	}
	h.ModTime = stamp
	h.Size = int64(len(content))
	h.Format = tar.FormatPAX
	if err := t.tw.WriteHeader(&h); err != nil {
		t.err = fmt.Errorf("entry %s: %w", h.Name, err)
		return
	}
	_, t.err = t.tw.Write([]byte(content))
}

func (t *tree) dir(mode int64, names ...string) {
	for _, name := range names {
		t.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, "")
	}
}

func (t *tree) file(name string, mode int64, content string) {
	t.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, content)
}

func (t *tree) symlink(name, target string) {
	t.add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, "")
}

func (t *tree) link(name, target string) {
	t.add(tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, "")
}

// whiteout deletes name from the layers below; of a directory's "/" all entries.
func (t *tree) whiteout(name string) {
	if dir, ok := strings.CutSuffix(name, "/"); ok {
		t.file(dir+"/.wh..wh..opq", 0o644, "")
		return
	}
	t.file(path.Join(path.Dir(name), ".wh."+path.Base(name)), 0o644, "")
}

// bytes ends the layer.
func (t *tree) bytes() ([]byte, error) {
	if t.err != nil {
		return nil, t.err
	}
	if err := t.tw.Close(); err != nil {
		return nil, err
	}
	return t.buf.Bytes(), nil
}

const passwd = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www:x:33:33:www:/var/www:/bin/false
app:x:1000:1000:application:/home/app:/bin/sh
nohome:x:1001:1001::/nowhere:/bin/sh
emptyhome:x:1002:1002:::/bin/sh
odd:x:1003:2003:uid and gid differ:/home/odd:/bin/sh
4242:x:1004:1004:a name of digits:/home/digits:/bin/sh
`

const group = `root:x:0:
daemon:x:1:
www:x:33:app
app:x:1000:
nohome:x:1001:
emptyhome:x:1002:
digits:x:1004:
oddgroup:x:2003:
extra:x:3000:app,root
more:x:3001:nohome,app
4343:x:3002:
`

// system is the root file system that most bases share.
func system(busybox, probe []byte, applets []string) ([]byte, error) {
	t := newTree()
	t.dir(0o755, "bin", "etc", "dev", "proc", "sys", "home", "opt", "srv", "usr", "usr/bin", "usr/share", "var", "run")
	t.dir(0o700, "root")
	t.dir(0o1777, "tmp")
	t.file("bin/busybox", 0o755, string(busybox))
	t.file("bin/probe", 0o755, string(probe))
	for _, name := range applets {
		if name != "busybox" {
			t.symlink("bin/"+name, "busybox")
		}
	}
	t.file("etc/passwd", 0o644, passwd)
	t.file("etc/group", 0o644, group)
	t.add(tar.Header{Typeflag: tar.TypeDir, Name: "home/app/", Mode: 0o750, Uid: 1000, Gid: 1000}, "")
	t.add(tar.Header{Typeflag: tar.TypeReg, Name: "home/app/.profile", Mode: 0o640, Uid: 1000, Gid: 1000}, "umask 027\n")

	t.file("etc/conf", 0o600, "conf of the base\n")
	t.dir(0o755, "srv/data", "srv/data/sub", "srv/full")
	t.file("srv/data/one", 0o644, "one of the base\n")
	t.file("srv/data/sub/two", 0o640, "two of the base\n")
	t.file("srv/full/a", 0o644, "a\n")
	t.file("srv/full/b", 0o644, "b\n")
	t.symlink("data", "srv/data")
	t.symlink("abs", "/srv/data")
	t.symlink("srv/up", "../opt")
	t.symlink("srv/chain", "../data")
	t.symlink("srv/gone", "/srv/missing")
	t.symlink("srv/file", "data/one")
	t.symlink("srv/loop", "loop")
	t.symlink("srv/out", "../../../../../../srv/data")
	t.symlink("var/run", "../run")

	t.add(tar.Header{Typeflag: tar.TypeDir, Name: "opt/mode/", Mode: 0o3750, Uid: 1000, Gid: 33}, "")
	t.add(tar.Header{Typeflag: tar.TypeReg, Name: "opt/mode/setuid", Mode: 0o4755, Uid: 1}, "setuid\n")
	t.file("opt/hard1", 0o644, "hard\n")
	t.link("opt/hard2", "opt/hard1")
	t.add(tar.Header{Typeflag: tar.TypeReg, Name: "opt/attr", Mode: 0o644,
		PAXRecords: map[string]string{"SCHILY.xattr.user.origin": "base"}}, "attr\n")
	t.add(tar.Header{Typeflag: tar.TypeFifo, Name: "opt/fifo", Mode: 0o600}, "")
	t.add(tar.Header{Typeflag: tar.TypeChar, Name: "opt/null", Mode: 0o666, Devmajor: 1, Devminor: 3}, "")
	return t.bytes()
}
