// Package sys wraps the Linux system calls that the standard library does not.
//
// A wrapper retries what a signal interrupted and returns an error that names
// the call and the path; it decides nothing. Trees are walked and copied by
// descriptor, and no symbolic link in them is followed.
package sys
