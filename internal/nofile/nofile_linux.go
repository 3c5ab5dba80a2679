// Package nofile knows how many files this process could open when it was
// started. Package os raises the soft limit before main runs; a child that is started
// with bare system calls has to be given the old one back.
//
// It works by being initialised before package os: packages are initialised in the
// order of their import paths as soon as what they import is, and this one
// imports nothing but syscall and sorts before os.
package nofile

import "syscall"

// limit is what the process was started with.
var limit = read() //nolint:gochecknoglobals // written once, before all else

// Limit returns the limits that the process was started with; ok is false if
// they could not be read.
func Limit() (soft, hard uint64, ok bool) { return limit.Cur, limit.Max, limit.Max != 0 }

func read() syscall.Rlimit {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return syscall.Rlimit{}
	}
	return l
}
