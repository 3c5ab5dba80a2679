// Package parser turns recipe text into a [Recipe]: the stages and instructions
// of a Dockerfile, typed, each with its place in the text.
//
// The language is the one that BuildKit v0.34.2 reads: the text is split by
// BuildKit's own parser and instruction packages, so what is accepted here is
// what is accepted there. What this package adds is that all faults of a text
// are reported at once, each with line, column and remedy, and that what later
// versions of this program will understand is refused by name. After this
// package nobody reads recipe text; variables are still in it, the planner
// replaces them.
//
// Nothing here does I/O, and a Recipe depends on its text alone.
package parser
