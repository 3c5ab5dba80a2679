// Package overlay keeps trees as stacks of directories for the kernel's overlay
// file system.
//
// A layer's files lie in a diff, diffs/<name>/fs, in the form in which overlayfs
// left them in its upper directory: a removed path is a character device 0:0, a
// directory that hides what is below it has an attribute. A tree is one small
// file, trees/<id>, that lists its diffs; so a tree is mounted after one read, and a
// layer is grafted onto another parent without touching its files.
//
// Diffs are shared by trees and never change. A tree file is published after
// the diff that it names, both while a lock is held that any number of
// publishers share and that Remove takes alone: what no tree names is then
// nobody's. A crash between the two leaves a diff that the next Remove finds.
package overlay
