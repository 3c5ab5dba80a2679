// Package layout reads and writes images in directories, by
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md.
//
// What is read is bounded in size and checked against its digest, and nothing
// outside the directory is touched, whatever links it holds. A write adds to
// what is there: index.json is replaced last, so that a layout is complete at any
// time.
package layout
