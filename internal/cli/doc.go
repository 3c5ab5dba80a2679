// Package cli is the command line: cobra commands, the terminal, and the choice
// of implementations for everything below.
//
// Results (an image ID, JSON, an archive) go to standard output, all else to
// standard error. A command ends with status 0, or says in one message what was
// wrong and ends with 1; `run` passes on its process's status and uses 125, 126
// and 127 as docker does. Nothing below this package knows a flag.
package cli
