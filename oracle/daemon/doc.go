// Package daemon builds, starts and stops what the oracle consists of:
// buildkitd with Debian's runc, and Debian's docker-registry.
//
// A process that Start functions of this package return lives in a mount and
// process namespace of its own: Stop, and the death of this program, end it
// with everything that it started and mounted.
package daemon
