// Package nofile knows how many files this process could open when it was
// started. The Go runtime raises the soft limit before main runs; a child that is
// started with bare system calls has to be given the old one back.
//
// It works by being initialised first: packages are initialised in the order of
// their import paths as soon as what they import is, and this one imports
// nothing. Only amd64 starts children in that way.
package nofile

// Limit returns the limits that the process was started with; ok is false if
// they are not known.
func Limit() (soft, hard uint64, ok bool) { return limit.soft, limit.hard, limit.hard != 0 }

type limits struct{ soft, hard uint64 }

// limit is what the process was started with.
var limit = read() //nolint:gochecknoglobals // written once, before all else
