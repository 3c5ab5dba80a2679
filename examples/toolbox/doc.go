// Command toolbox is a shell and the usual Unix tools in one static program,
// the base of the examples beside it.
//
// It looks at the name it is called by: as sh it is a shell, as cat it is cat,
// and so on. "toolbox NAME ARGUMENT…" calls a tool by name, "toolbox --list"
// prints the names, and "toolbox --install DIRECTORY" makes a symbolic link in
// DIRECTORY for each of them.
//
// The shell runs tools inside its own process when the command search ends at
// this program or nowhere, so that a pipeline of ten tools starts one process.
// A program of the same name that comes earlier in PATH wins.
//
// # Promises
//
// A tool accepts an option and honours it, or refuses it and exits with status
// 2: no option is ignored unless it asks for what the tool does anyway. What a
// tool prints depends on its input alone: directories are listed in byte order,
// sorting is by bytes, archives hold their entries in byte order, and gzip
// writes neither name nor time.
//
// # Limits
//
// The shell is mvdan.cc/sh's, which speaks bash rather than bare POSIX sh. It
// traps EXIT and ERR only, exec starts a child rather than replace the process,
// and umask holds for subshells too. Regular expressions have no
// back-references in the pattern; sed has no branches.
package main
