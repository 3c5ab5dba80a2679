// Package base makes the images that recipes start from.
//
// Every image is a function of two programs, busybox and probe: their names
// in the registry, contents and digests do not change from run to run. What
// the images hold is meant to be awkward: users and groups of every kind,
// links, special modes, configs with everything set or nothing set, layers
// with whiteouts, and each media type that a registry may hand out.
package base
