// Package fileop computes what COPY, ADD and WORKDIR make of a tree.
//
// It works on metadata: a [layer.View] of the tree copied from and a
// [layer.Stack] of the one copied into. [Select] says what the patterns of a
// COPY choose, [Selection.Digest] names that as part of a cache key, and [Copy]
// and [Mkdir] return the result as a layer's index together with where each
// file's bytes are. Nothing is mounted and no byte is copied, but for archives
// that ADD unpacks.
//
// # What it promises
//
// Results are those of BuildKit v0.34.2 on a mounted tree: the same paths, types,
// modes, owners, attributes and links, the same successes and failures. Two
// things differ on purpose. Everything that is written carries the time of
// writing, not that of its source; and what an earlier step of the same build
// put there equal in content, mode, owner, attributes and type is left alone, so
// that it keeps its time and is no part of the layer.
//
// No path leads out of its tree: a symbolic link is followed inside the root of
// the tree in which it stands, and an unpacked archive stays below its
// destination, whatever it holds.
package fileop
