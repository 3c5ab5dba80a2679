// Package progress says what a build or a transfer is doing while it does it.
//
// Work is divided into vertices, as BuildKit calls what has one line in its
// output: a step, the load of a context, the pull of an image, an export. Each
// starts, may print, may advance, and finishes once. Events go to a [Sink];
// what a terminal or a log makes of them is the sink's affair. Libraries report
// here and never print.
package progress
