// Package container runs an image: a process in a copy-on-write copy of the
// image's tree, with the surroundings that the image's config and the command
// line give it.
//
// A container lives as long as its process. Its tree and its anonymous volumes
// are removed at the end, whether --rm is given or not: what can be done with a
// stopped container (start, commit, logs) does not exist yet, so nothing is kept that
// nobody could reach. Named volumes stay, in the directory volumes of the store.
//
// The network is the host's. The first process is a reaper: it passes signals
// on to the command and collects orphans.
package container
