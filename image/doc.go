// Package image is the vocabulary of container images: names, digests,
// platforms, descriptors, configs, layers, images.
//
// It does no I/O and knows no place an image can live in; those are the
// packages below it (layer, store, layout, archive, registry). Terms are those
// of the OCI image specification, https://github.com/opencontainers/image-spec.
//
// Two digests are told apart by type. A [Digest] names bytes: a blob, a config,
// a manifest, an uncompressed layer tar (its diff ID). A [ContentDigest] names
// what a layer holds, times left out; it is what cache keys are made of.
package image
