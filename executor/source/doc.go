// Package source reads build contexts.
//
// A [Context] is a directory as a recipe sees it: less what the ignore file
// excludes, owned by root, described by metadata ([Context.Lookup],
// [Context.ReadDir]) and, where asked for, by the digests of files
// ([Context.Digest]). It is read where it lies. Only directories that somebody
// looks into are walked, and no file is opened whose digest is known from an
// earlier build and whose state has not changed since.
//
// # What it promises
//
// No symbolic link is followed on the way to a file, so nothing outside the
// directory is read whatever changes in it meanwhile. A file is read only if it
// is regular when it is open. Contexts change while they are used: a digest is
// that of the bytes read for it, and who copies a file compares.
//
// What the client of BuildKit does to a context is done here too: owners become
// root, file capabilities are lost, a socket becomes an empty file; modes, other
// attributes, devices, pipes, hard and symbolic links stay.
package source
