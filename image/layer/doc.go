// Package layer turns file trees into layers and layers into file trees.
//
// A layer has three forms: a directory in which its files stand, a tar, and an
// [Index], which says everything but the bytes of the files. The index is the
// common ground: [Scan] makes it of a changed directory and [Apply] of a tar,
// [WriteTar] and [WriteTree] make a tar and a directory of it, and a [Stack] of
// indexes answers questions about the merged tree without one.
//
// # Normal form
//
// A tar that this package writes is a pure function of an index and of the
// stamps it is given: entries component-wise by bytes, parents before what is in
// them, each parent of an entry present with the metadata that it has in the
// merged tree; an opaque mark right after its directory, whiteouts before their
// siblings, a hard link after its first name; USTAR headers where they suffice
// and PAX records where not; numeric owners, whole seconds, no access or change
// time, attributes by name without those of the host ([KeepXattr]). The root
// has no entry: its metadata is no part of a layer, as with containerd.
//
// # Time
//
// Times are no part of what a layer holds ([Index.Content]). In a tree they are
// what they are; in a tar every entry has the layer's stamp. A compiled Python
// file repeats the time of its source, so it is part of the layer without that
// time, and gets the source's stamp when it is written ([Entry.Pyc]).
//
// # Strangers
//
// [Apply] reads tars of any origin. Nothing is written outside its directory,
// whatever names, links and types the tar holds; memory grows with the number of
// entries, which is bounded. The rules for changesets are those of
// https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md, and of
// containerd where that leaves something open.
package layer
