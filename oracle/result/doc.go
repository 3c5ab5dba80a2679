// Package result reads what a build left, as plain values, and compares two
// of them.
//
// A Build is the outcome of one: refused with a message, or the images of an
// OCI archive, each as its manifest, config, layers and merged tree. Times are
// left out, and digests too where they depend on times. What remains is what
// two builders of one recipe must agree on. Builds are stored as JSON.
package result
