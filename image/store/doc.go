// Package store keeps the images of this machine: blobs, image records and
// names.
//
// A blob is a file named by its digest; it is complete and verified when it
// appears and never changes. A record says what an image is made of: its layers
// with what they hold, where it came from, the manifests it is known by. A name
// is a tag or a digest in a repository and points at records, one for each
// platform.
//
// There is no daemon and no lock around the whole: any number of processes may
// use one directory. Files appear by rename; the names of a repository change
// under a lock of their own; one blob is fetched by one process while the others
// wait for it. A crash leaves temporary files at most. Nothing waits for a disk
// but [Store.Sync]; after a crash of the machine a file that did not get there
// is noticed by its checksum and taken for missing.
//
// The store knows nothing of registries and of trees. Where bytes come from and
// what else lies on this machine is for the caller to join.
package store
