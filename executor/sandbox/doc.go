// Package sandbox runs one process in a root of its own, apart from the rest of
// the machine.
//
// The process has new mount, pid, ipc and uts namespaces (and, without a network,
// a network namespace with nothing but "lo"), an overlay or a directory as its
// root, fresh /proc, /sys and /dev, and of the machine's powers what docker
// leaves a container: its capabilities, its system call filter, its masked and
// read-only paths. What the caller does not ask for is not there: no file
// descriptor, no environment variable and no signal handler passes in.
//
// [Sandbox.Start] looks at the root from outside, through descriptors that
// cannot lead out of it, and writes down everything that has to happen inside as
// a program: a list of system calls with their arguments, in which no decision is left
// but what a failure means. The new process executes the program and
// becomes the step. So all code that thinks runs in the parent, where an error is
// an error value, and the new process is cheap.
//
// A step dies with the process that started it, however that dies, and at the
// latest when its first process ends everything it started is gone. Nothing is mounted outside the step's own mount
// namespace, and of the files that had to exist to be mounted upon none stays
// in the root, except the directories /proc, /sys and /dev.
//
// The program runs as root, or as "root" in a user namespace that somebody else
// has made.
package sandbox
