// Package registry brings images from registries and takes them there, by the
// distribution specification,
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md.
//
// A registry is not believed. What it answers is bounded in size and checked
// against the digest that asked for it; only what a tag means is its own word.
// Manifests and indexes of OCI and of docker's schema 2 are understood; schema 1
// is refused by name.
//
// A registry's mirrors are asked first, in their order, then itself. Answers
// that say "later" (429 and 5xx) are asked for again, after the time that they
// name; everything ends with the context. Credentials are docker's and go to
// exactly the host that they are for.
//
// Nothing here is kept: blobs are for the caller to store.
package registry
