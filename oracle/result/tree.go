package result

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxText is the size up to which the content of a text file is kept, so
// that a difference can be shown and not only stated.
const maxText = 8 << 10

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// node is a file; several paths may lead to one.
type node struct{ entry Entry }

// tree is a merged file system: clean paths without a leading slash.
type tree struct{ nodes map[string]*node }

func newTree() *tree { return &tree{nodes: map[string]*node{}} }

// item is an entry of a layer and its content.
type item struct {
	name   string
	header *tar.Header
	data   []byte
}

// apply puts a layer on top of t and returns the layer's paths, sorted.
func (t *tree) apply(r io.Reader) ([]string, error) {
	var items []item
	paths := []string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		items = append(items, item{name, h, data})
		if h.Typeflag == tar.TypeDir {
			name += "/"
		}
		paths = append(paths, "/"+printable(strings.TrimPrefix(name, "/")))
	}
	slices.Sort(paths)
	if twice := slices.Compact(slices.Clone(paths)); len(twice) != len(paths) {
		return nil, fmt.Errorf("a path stands twice in a layer: %q", paths)
	}

	// Whiteouts concern the layers below only.
	for _, it := range items {
		dir, base := path.Split(it.name)
		switch {
		case base == opaque:
			t.removeBelow(path.Clean("/" + dir)[1:])
		case strings.HasPrefix(base, whiteout):
			t.remove(dir + strings.TrimPrefix(base, whiteout))
		}
	}
	for _, it := range items {
		if strings.HasPrefix(path.Base(it.name), whiteout) {
			continue
		}
		if err := t.put(it); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

func (t *tree) remove(name string) {
	delete(t.nodes, name)
	t.removeBelow(name)
}

func (t *tree) removeBelow(name string) {
	prefix := name + "/"
	if name == "" {
		prefix = ""
	}
	maps.DeleteFunc(t.nodes, func(p string, _ *node) bool { return p != "" && strings.HasPrefix(p, prefix) })
}

func (t *tree) put(it item) error {
	h := it.header
	if h.Typeflag == tar.TypeLink {
		target := strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
		n, ok := t.nodes[target]
		if !ok {
			return fmt.Errorf("hard link %q to %q, which is not there", h.Name, h.Linkname)
		}
		t.removeBelow(it.name)
		t.nodes[it.name] = n
		return nil
	}
	e := Entry{Mode: h.Mode & 0o7777, UID: h.Uid, GID: h.Gid, Xattrs: xattrs(h)}
	switch h.Typeflag {
	case tar.TypeDir:
		e.Type = "dir"
	case tar.TypeReg:
		e.Type, e.Size = "file", int64(len(it.data))
		sum := sha256.Sum256(it.data)
		e.Digest = hex.EncodeToString(sum[:])
		if len(it.data) <= maxText && utf8.Valid(it.data) && bytes.IndexByte(it.data, 0) < 0 {
			text := string(it.data)
			e.Text = &text
		}
	case tar.TypeSymlink:
		e.Type, e.Link = "symlink", printable(h.Linkname)
	case tar.TypeChar:
		e.Type, e.Device = "char", fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
	case tar.TypeBlock:
		e.Type, e.Device = "block", fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
	case tar.TypeFifo:
		e.Type = "fifo"
	default:
		return fmt.Errorf("entry %q has type %q", h.Name, h.Typeflag)
	}
	if e.Type != "dir" {
		t.removeBelow(it.name)
	}
	t.nodes[it.name] = &node{e}
	return nil
}

// printable is name, or where JSON could not hold it, name quoted.
func printable(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	return strconv.Quote(name)
}

func xattrs(h *tar.Header) map[string]string {
	var m map[string]string
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			if m == nil {
				m = map[string]string{}
			}
			m[name] = fmt.Sprintf("%q", v)
		}
	}
	return m
}

// entries lists the tree by path, hard links marked.
func (t *tree) entries() []Entry {
	names := slices.Sorted(maps.Keys(t.nodes))
	groups := map[*node][]string{}
	for _, name := range names {
		groups[t.nodes[name]] = append(groups[t.nodes[name]], name)
	}
	list := make([]Entry, 0, len(names))
	for _, name := range names {
		n := t.nodes[name]
		e := n.entry
		e.Path = "/" + printable(name)
		if g := groups[n]; len(g) > 1 {
			e.Twin = "/" + printable(g[0])
		}
		list = append(list, e)
	}
	return list
}
