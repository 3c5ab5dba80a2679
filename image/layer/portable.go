package layer

import "slices"

// Portable returns the layer without the attributes that BuildKit and docker do
// not send: of all attributes only file capabilities leave the machine. The
// others stay in trees and keys. An index without such is returned as it is.
func (x *Index) Portable() *Index {
	keep := func(a Xattr) bool { return a.Name == capability }
	var entries []Entry
	for i := range x.Entries {
		if !slices.ContainsFunc(x.Entries[i].Xattrs, func(a Xattr) bool { return !keep(a) }) {
			continue
		}
		if entries == nil {
			entries = slices.Clone(x.Entries)
		}
		entries[i].Xattrs = slices.DeleteFunc(slices.Clone(x.Entries[i].Xattrs), func(a Xattr) bool { return !keep(a) })
	}
	if entries == nil {
		return x
	}
	return &Index{Entries: entries}
}
