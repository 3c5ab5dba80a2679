//go:build linux && !amd64

package sandbox

import "os"

// start starts a process that executes p in new namespaces, and returns when it
// has become the command.
func start(p *program, flags uintptr, spec *Spec, watch func(pid int) error) (*os.Process, error) {
	return startReexec(p, flags, spec, watch)
}
