// Package history keeps what is known of builds that have ended.
//
// A record says what was built from what, how it went and how long each step
// took; its log is what progress showed meanwhile. Both are in one file, which
// never changes. Any number of processes may use one directory: a file appears
// whole by a rename, under a name that nobody else chooses, so nothing is locked.
//
// Records are for people. Nothing that a build makes depends on them, and one
// that is torn, foreign or gone is left out with a warning.
package history
