package sandbox

import (
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cloneArgs is struct clone_args of clone3(2), by the places that are used.
type cloneArgs [11]uint64

const (
	cloneFlags     = 0
	cloneSignal    = 4
	cloneStack     = 5
	cloneStackSize = 6
)

// rawRun is what a process that shares this one's memory executes, and where it says how it
// went. The layout is known to rawStart.
type rawRun struct {
	ops    *op
	count  int64
	slots  *[maxSlots]uint64
	failed int64 // the call that failed, if ended is 1
	ended  int64
}

//go:noescape
func rawStart(clone *cloneArgs, size uintptr, r *rawRun) int64

// clearSignals is CLONE_CLEAR_SIGHAND: a signal must not run Go code in the new process.
const clearSignals = 0x100000000

// start starts a process that executes p in new namespaces, and returns when it
// has become the command.
//
// The process is made without a copy of this one's memory, and executes p with a few
// instructions that are no Go code. Where that is impossible this program is executed again.
func start(p *program, flags uintptr, spec *Spec) (*os.Process, error) {
	if spec.Init {
		return startReexec(p, flags, spec)
	}
	process, err := startRaw(p, flags)
	if errors.Is(err, errNoClone) {
		return startReexec(p, flags, spec)
	}
	return process, err
}

// errNoClone is a kernel, or a filter around this process, that does not know clone3.
var errNoClone = errors.New("clone3 is not available")

func startRaw(p *program, flags uintptr) (_ *os.Process, err error) {
	status, theirs, err := statusPipe()
	if err != nil {
		return nil, err
	}
	defer status.Close()
	defer theirs.Close()
	p.files[0] = theirs

	ops, data := slices.Clone(p.ops), slices.Clone(p.data)
	load(ops, data, p.pointers, uint64(uintptr(unsafe.Pointer(&data[0]))), func(i int) int { return int(p.files[i].Fd()) })
	// A new process must be able to read what the parent's goroutine has: all of this is on the heap,
	// where nothing is moved.
	stack := make([]byte, 4096)
	run := &rawRun{ops: &ops[0], count: int64(len(ops)), slots: new([maxSlots]uint64)}
	args := &cloneArgs{
		cloneFlags:     uint64(flags) | unix.CLONE_VM | clearSignals,
		cloneSignal:    uint64(unix.SIGCHLD),
		cloneStack:     uint64(uintptr(unsafe.Pointer(&stack[0]))),
		cloneStackSize: uint64(len(stack)),
	}
	pid := rawStart(args, unsafe.Sizeof(*args), run)
	if pid < 0 {
		if errno := syscall.Errno(-pid); errno != unix.ENOSYS {
			return nil, os.NewSyscallError("clone3", errno)
		}
		return nil, errNoClone
	}
	if err := theirs.Close(); err != nil {
		return nil, err
	}
	process, err := os.FindProcess(int(pid))
	// The pipe is at its end when the process has become the command, or has ended. Until then it uses
	// this one's memory.
	_, readErr := io.Copy(io.Discard, status)
	runtime.KeepAlive(stack)
	runtime.KeepAlive(data)
	runtime.KeepAlive(p)
	if err := errors.Join(err, readErr); err != nil {
		return nil, err
	}
	for i := range ops {
		p.ops[i].result = ops[i].result
	}
	if run.ended != 0 {
		_, err := process.Wait()
		return nil, errors.Join(p.failure(int(run.failed)), err)
	}
	return process, nil
}
