package layer

import (
	"fmt"
	"strings"
)

// WhiteoutName reports whether a file at path would be taken for a whiteout by
// whoever unpacks it from a tar, and of which path.
func WhiteoutName(path string) (gone string, ok bool) {
	dir, name := split(path)
	gone, ok = strings.CutPrefix(name, whiteoutPrefix)
	if !ok || gone == "" || gone == "." || gone == ".." || strings.HasPrefix(name, metaPrefix) {
		return "", false
	}
	return join(dir, gone), true
}

// takeWhiteouts replaces the files that have names of whiteouts by whiteouts. Such
// a directory stays, and so does a file with further names: there is no saying
// what they mean.
func takeWhiteouts(entries []Entry) ([]Entry, error) {
	var gone []string
	var kept []Entry
	for i := range entries {
		e := &entries[i]
		path, ok := WhiteoutName(e.Path)
		if ok = ok && e.Type != Dir && e.Type != Hardlink && e.Type != Whiteout; ok {
			if gone == nil {
				kept = append(kept, entries[:i]...)
			}
			gone = append(gone, path)
		}
		if !ok && gone != nil {
			kept = append(kept, *e)
		}
	}
	if gone == nil {
		return entries, nil
	}
	return addWhiteouts(kept, gone)
}

// addWhiteouts adds whiteouts of the paths that are gone. An entry of the layer
// at such a path hides what is below without one.
func addWhiteouts(entries []Entry, gone []string) ([]Entry, error) {
	there := make(map[string]Type, len(entries))
	for i := range entries {
		there[entries[i].Path] = entries[i].Type
	}
	for _, path := range gone {
		switch t, ok := there[path]; {
		case !ok:
			there[path] = Whiteout
			entries = append(entries, Entry{Path: path, Type: Whiteout})
		case t == Dir:
			return nil, fmt.Errorf("a file of this layer has the name of a whiteout of %q, which the layer has as well", path)
		}
	}
	return entries, nil
}
