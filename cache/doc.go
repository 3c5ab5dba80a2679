// Package cache remembers what computations gave, and what many processes need
// to share one directory.
//
// A key is the hash of named parts: what a computation is, and the contents of
// what it reads. A record says which layer it gave, and keeps the parts, so that why
// something was not remembered is a comparison. The first record of a key stays;
// who comes second goes on with it. What a step is, this package does not know.
//
// Each process holds a lease. Its temporary files live under it, and what others
// removed is deleted only when every lease is gone that was held then. A
// process that dies loses its lease by that, and the next [Cache.Sweep] removes
// what it left.
//
// Nothing waits for a disk. Records have a checksum, so that a torn one is none,
// and say in which run of the machine they were written: [Cache.Sync] moves a
// watermark, and a record above the mark of a run that is over is not
// [Record.Trusted], as the layer that it names may be torn.
package cache
