// Package snapshot is the vocabulary of file trees that share what they have in
// common, and the promises that every implementation keeps.
//
// A committed tree never changes. An active one is a writable tree that starts
// equal to a committed parent; Commit makes it a committed tree, Discard
// forgets it. An active tree is never a parent. A tree is named by what is in
// it, layer by layer ([Chain]): two processes that make the same tree make one,
// the first keeps its place and the other goes on with it.
//
// Any number of processes may use one directory. Publishing is one rename; a
// crash leaves at most temporary directories, which belong to a lease that
// nobody holds and are removed by the next process. Nothing is mounted here:
// a tree is handed out as a [Mount] for the namespace of whoever needs it.
package snapshot
