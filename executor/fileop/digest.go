package fileop

import (
	"crypto/sha256"
	"encoding/binary"

	"builder/image/layer"
)

// selectionVersion changes with the encoding below.
const selectionVersion = "selection 1"

// Digest returns the digest of all that flows from the source into the result:
// names below a match, types, modes, attributes, link targets, which names are
// one file, contents, empty directories; owners where the copy keeps them. Times
// do not flow. The digests of files must have been set ([Selection.Entries]).
func (s *Selection) Digest() [sha256.Size]byte {
	w := fieldWriter{buf: make([]byte, 0, 1<<16)}
	h := sha256.New()
	w.text(selectionVersion)
	if s.shown {
		w.text("shown")
	}
	for _, m := range s.matches {
		s.writeMatch(&w, m, func() {
			h.Write(w.buf)
			w.buf = w.buf[:0]
		})
	}
	h.Write(w.buf)
	return [sha256.Size]byte(h.Sum(nil))
}

// writeMatch writes a match; flush is called between entries when there is much.
func (s *Selection) writeMatch(w *fieldWriter, m match, flush func()) {
	first := &s.entries[m.start]
	w.number(uint64(m.end - m.start))
	groups := map[linkKey]int{}
	if first.Type != layer.Dir {
		w.text("file")
		if !s.shown {
			w.text(m.name)
		}
		s.writeEntry(w, first, groups, 0)
		return
	}
	w.text("directory")
	switch {
	case s.shown:
		s.writeEntry(w, first, groups, 0)
	case s.op.Literal && s.modes:
		w.number(uint64(first.Mode)) // of a directory that is made for it
	}
	// Otherwise a directory is copied into one that is made for it, or that is
	// there: its own metadata stays behind.
	for i := m.start + 1; i < m.end; i++ {
		e := &s.entries[i]
		w.text(below(first.Path, e.Path))
		if s.passes(i) {
			w.number(1 << 16) // no type has this number
			if !s.modes {
				w.number(uint64(e.Mode)) // a directory that is there gets it, whatever --chmod says
			}
		}
		s.writeEntry(w, e, groups, i-m.start)
		if len(w.buf) > 1<<16-1<<12 {
			flush()
		}
	}
}

func (s *Selection) writeEntry(w *fieldWriter, e *layer.Entry, groups map[linkKey]int, i int) {
	kind := e.Type
	if kind == layer.Hardlink {
		kind = layer.File
	}
	w.number(uint64(kind))
	if s.modes && kind != layer.Symlink {
		w.number(uint64(e.Mode))
	}
	if s.op.Chown == "" {
		w.number(uint64(e.UID))
		w.number(uint64(e.GID))
	}
	w.number(uint64(len(e.Xattrs)))
	for _, x := range e.Xattrs {
		w.text(x.Name)
		w.text(x.Value)
	}
	switch kind {
	case layer.File:
		w.buf = append(w.buf, e.Digest[:]...)
		w.number(uint64(e.Pyc))
		first := 0
		if key, ok := s.group(e); ok {
			if first, ok = groups[key]; !ok {
				groups[key] = i
			}
		}
		w.number(uint64(first))
	case layer.Symlink:
		w.text(e.Link)
	case layer.Char, layer.Block:
		w.number(uint64(e.Major))
		w.number(uint64(e.Minor))
	}
}

// below returns path relative to dir, which it is in.
func below(dir, path string) string {
	if dir == "" {
		return path
	}
	return path[len(dir)+1:]
}

// fieldWriter encodes fields so that no two sequences of them are equal bytes.
type fieldWriter struct{ buf []byte }

func (w *fieldWriter) number(n uint64) { w.buf = binary.AppendUvarint(w.buf, n) }

func (w *fieldWriter) text(s string) {
	w.number(uint64(len(s)))
	w.buf = append(w.buf, s...)
}
