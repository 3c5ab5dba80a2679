package fileop_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"builder/image/layer"
)

var now = time.Unix(2_000_000_000, 0)

// contents are files for tests, by digest.
type contents map[[32]byte]string

func (c contents) Open(_ context.Context, e layer.Entry) (io.ReadCloser, error) {
	text, ok := c[e.Digest]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", e.Path, fs.ErrNotExist)
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

// newLayer makes an index out of lines, each a path and words:
//
//	dir/ 2755 1:2          a directory, its mode and owner
//	file 4755 1:2 =text    a file; @user.a=b is an attribute
//	link -> target         a symbolic link
//	name == first          a hard link
//	pipe |                 a pipe
//	gone -                 a whiteout
//
// Directories that are not listed are 0755 and root's.
func newLayer(t *testing.T, files contents, lines string) *layer.Index {
	t.Helper()
	var list []layer.Entry
	at := map[string]int{}
	add := func(e layer.Entry) {
		if i, ok := at[e.Path]; ok {
			list[i] = e
			return
		}
		at[e.Path] = len(list)
		list = append(list, e)
	}
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		e := newEntry(t, files, words)
		for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
			if _, ok := at[dir]; !ok {
				add(layer.Entry{Path: dir, Type: layer.Dir, Mode: 0o755})
			}
		}
		if e.Type == layer.Hardlink {
			first := list[at[e.Link]]
			first.Path, first.Type, first.Link = e.Path, e.Type, e.Link
			e = first
		}
		add(e)
	}
	ix, err := layer.NewIndex(list)
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func newEntry(t *testing.T, files contents, words []string) layer.Entry {
	e := layer.Entry{Path: words[0], Type: layer.File, Mode: 0o644}
	if dir, ok := strings.CutSuffix(e.Path, "/"); ok {
		e.Path, e.Type, e.Mode = dir, layer.Dir, 0o755
	}
	for i, w := range words[1:] {
		switch {
		case w == "->":
			e.Type, e.Link, e.Mode = layer.Symlink, words[i+2], 0o777
			return e
		case w == "==":
			e.Type, e.Link = layer.Hardlink, words[i+2]
			return e
		case w == "|":
			e.Type = layer.Fifo
		case w == "-":
			return layer.Entry{Path: e.Path, Type: layer.Whiteout}
		case strings.HasPrefix(w, "="):
			files[sha256.Sum256([]byte(w[1:]))] = w[1:]
			e.Size, e.Digest = int64(len(w)-1), sha256.Sum256([]byte(w[1:]))
		case strings.HasPrefix(w, "@"):
			name, value, _ := strings.Cut(w[1:], "=")
			e.Xattrs = append(e.Xattrs, layer.Xattr{Name: name, Value: value})
		case strings.Contains(w, ":"):
			if _, err := fmt.Sscanf(w, "%d:%d", &e.UID, &e.GID); err != nil {
				t.Fatal(err)
			}
		default:
			mode, err := strconv.ParseUint(w, 8, 32)
			if err != nil {
				t.Fatalf("%q: %v", w, err)
			}
			e.Mode = uint32(mode)
		}
	}
	if e.Type == layer.File && e.Digest == [32]byte{} {
		e.Digest = sha256.Sum256(nil)
		files[e.Digest] = ""
	}
	return e
}

// show writes an index as newLayer reads it. A parent has a "^" instead of its
// metadata, an opaque directory a "!".
func show(t *testing.T, ix *layer.Index, src layer.Source) string {
	t.Helper()
	var b strings.Builder
	for _, e := range ix.Entries {
		b.WriteString(e.Path)
		switch e.Type {
		case layer.Dir:
			b.WriteString("/")
			if e.Opaque {
				b.WriteString(" !")
			}
			if e.Parent {
				b.WriteString(" ^")
			} else {
				fmt.Fprintf(&b, " %o %d:%d", e.Mode, e.UID, e.GID)
			}
		case layer.Symlink:
			fmt.Fprintf(&b, " -> %s", e.Link)
			if e.UID != 0 || e.GID != 0 {
				fmt.Fprintf(&b, " %d:%d", e.UID, e.GID)
			}
		case layer.Hardlink:
			fmt.Fprintf(&b, " == %s", e.Link)
		case layer.Fifo:
			fmt.Fprintf(&b, " %o %d:%d |", e.Mode, e.UID, e.GID)
		case layer.Whiteout:
			b.WriteString(" -")
		default:
			fmt.Fprintf(&b, " %o %d:%d =%s", e.Mode, e.UID, e.GID, read(t, src, e))
		}
		for _, x := range e.Xattrs {
			fmt.Fprintf(&b, " @%s=%s", x.Name, x.Value)
		}
		b.WriteString("\n")
		if e.Type != layer.Whiteout && !e.Parent && e.Mtime != now.UnixNano() {
			t.Errorf("%s: mtime %d is not the time of writing", e.Path, e.Mtime)
		}
	}
	return b.String()
}

// read returns a file's bytes, which must be those of its entry.
func read(t *testing.T, src layer.Source, e layer.Entry) string {
	t.Helper()
	r, err := src.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if sha256.Sum256(data) != e.Digest || int64(len(data)) != e.Size {
		t.Errorf("%s: %q is not what the entry describes", e.Path, data)
	}
	return string(data)
}

// lines drops indentation, so that tables can be indented.
func lines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
