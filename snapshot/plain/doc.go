// Package plain keeps each tree as a directory of its own, for where overlays
// cannot be mounted.
//
// A tree is plain/<id>: its files, complete, in fs, and a small file that says
// whose layer it is. Nothing is shared with other trees but what the file
// system shares by itself (reflinks): a step may write to what it sees. So a tree
// costs its size in time and space; prefer package overlay.
//
// What an active tree changed is found by comparing it with what was noted when
// it was made. A file that was touched in the same tick of the file system's
// clock as the note is listed even if nothing tells it apart.
package plain
