// Package snapshottest holds every [snapshot.Snapshotter] to its promises.
//
// Trees are written and read through the mounts that the snapshotter hands out.
// Overlays are used by their descriptor and mounted nowhere, so a test that dies
// leaves nothing behind.
package snapshottest
