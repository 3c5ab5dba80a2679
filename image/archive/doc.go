// Package archive reads and writes images in tar files: OCI archives, which are
// layouts in a tar, and docker archives, which `docker save` writes and `docker
// load` reads.
//
// Archives that are written are a function of the images in them. A docker
// archive is an OCI archive with docker's manifest.json beside the index, so that
// both kinds of readers understand it.
//
// An archive that is read is not believed: names lead nowhere but into it, sizes
// are bounded, digests are checked.
package archive
