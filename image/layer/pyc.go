package layer

import (
	"encoding/binary"
	pathpkg "path"
	"strings"
)

// A compiled Python file begins with a magic number, a word of flags, and, where
// that is 0, the mtime and the size of its source: PEP 552.
const (
	pycHeader = 16
	pycFlags  = 4
	pycTime   = 8
	pycSize   = 12
)

// pycSource returns the path of the source that a compiled Python file at path
// is made of: PEP 3147, PEP 488.
func pycSource(path string) (string, bool) {
	stem, ok := strings.CutSuffix(path, ".pyc")
	if !ok {
		return "", false
	}
	dir, name := split(stem)
	above, last := split(dir)
	if last != "__pycache__" {
		return stem + ".py", name != ""
	}
	if i := strings.LastIndex(name, ".opt-"); i > 0 {
		name = name[:i]
	}
	i := strings.LastIndexByte(name, '.')
	if i <= 0 {
		return "", false
	}
	return join(above, name[:i]+".py"), true
}

// pycStamp returns what the header of a compiled Python file says of its source.
// ok is false where it is no file of the kind that names a time.
func pycStamp(header []byte) (mtime, size uint32, ok bool) {
	if len(header) < pycHeader || header[2] != '\r' || header[3] != '\n' ||
		binary.LittleEndian.Uint32(header[pycFlags:]) != 0 {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint32(header[pycTime:]), binary.LittleEndian.Uint32(header[pycSize:]), true
}

func setPycTime(header []byte, seconds int64) {
	binary.LittleEndian.PutUint32(header[pycTime:], uint32(seconds))
}

// maxSourceLinks is how many symbolic links a source is looked for behind.
const maxSourceLinks = 8

// followSource returns the path of the file that a source at path is: Python
// compares the time of what a symbolic link leads to. Links among the
// directories on the way are not followed.
func followSource(path string, lookup func(string) (Entry, bool)) string {
	for range maxSourceLinks {
		e, ok := lookup(path)
		if !ok || e.Type != Symlink {
			break
		}
		dir, _ := split(path)
		if strings.HasPrefix(e.Link, "/") {
			dir = ""
		}
		path = strings.TrimPrefix(pathpkg.Join("/", dir, e.Link), "/")
	}
	return path
}

// source returns the entry of the source that a compiled Python file of the
// index is made of, if that is in the index.
func (x *Index) source(pyc string) (Entry, bool) {
	path, ok := pycSource(pyc)
	if !ok {
		return Entry{}, false
	}
	return x.Find(followSource(path, x.Find))
}
