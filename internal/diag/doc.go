// Package diag tells people what is wrong with what they wrote.
//
// A [File] is text that a person can open; a [Span] is a place in one; an
// [Error] is one fault with its place and its remedy; a [List] is all faults of
// one reading, in the order of the text. The printed form is
//
//	Dockerfile:7:5: unknown flag "--mout"
//	   7 | RUN --mout=type=cache,target=/root/.cache go build ./...
//	     |     ^^^^^^
//	hint: did you mean "--mount"?
//
// Errors for code (an operation that failed) are ordinary wrapped errors; this
// package is for faults in recipes, flags and files that a person wrote.
package diag
