package sandbox

import (
	"errors"
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

	// What follows is not known to rawStart. It is here because the new process uses it too.
	clone cloneArgs
	stack *[4096]byte
	data  []byte
	all   []op
}

// rawStart has its arguments escape to the heap: a goroutine's stack can be moved while
// the new process writes to what is in it. So it must not be marked noescape.
func rawStart(clone *cloneArgs, size uintptr, r *rawRun) int64

// clearSignals is CLONE_CLEAR_SIGHAND: a signal must not run Go code in the new process.
const clearSignals = 0x100000000

// start starts a process that executes p in new namespaces, and returns when it
// has become the command.
//
// The process is made without a copy of this one's memory, and executes p with a few
// instructions that are no Go code. Where that is impossible this program is executed again.
func start(p *program, flags uintptr, spec *Spec, watch func(pid int) error) (*os.Process, error) {
	if spec.Init {
		return startReexec(p, flags, spec, watch)
	}
	process, err := startRaw(p, flags, watch)
	if errors.Is(err, errNoClone) {
		return startReexec(p, flags, spec, watch)
	}
	return process, err
}

// errNoClone is a kernel, or a filter around this process, that does not know clone3.
var errNoClone = errors.New("clone3 is not available")

func startRaw(p *program, flags uintptr, watch func(pid int) error) (_ *os.Process, err error) {
	status, theirs, err := statusSocket()
	if err != nil {
		return nil, err
	}
	defer status.Close()
	defer theirs.Close()
	p.files[0] = theirs

	// All that the new process uses hangs on run, which is on the heap.
	run := &rawRun{all: slices.Clone(p.ops), data: slices.Clone(p.data), slots: new([maxSlots]uint64), stack: new([4096]byte)}
	run.ops, run.count = &run.all[0], int64(len(run.all))
	load(run.all, run.data, p.pointers, uint64(uintptr(unsafe.Pointer(&run.data[0]))), func(i int) int { return int(p.files[i].Fd()) })
	run.clone = cloneArgs{
		cloneFlags:     uint64(flags) | unix.CLONE_VM | clearSignals,
		cloneSignal:    uint64(unix.SIGCHLD),
		cloneStack:     uint64(uintptr(unsafe.Pointer(run.stack))),
		cloneStackSize: uint64(len(run.stack)),
	}
	pid := rawStart(&run.clone, unsafe.Sizeof(run.clone), run)
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
	_, watchErr := watched(status, int(pid), watch)
	// The socket is at its end when the process has become the command, or has ended. Until then it uses
	// this one's memory.
	_, readErr := readStatus(status)
	runtime.KeepAlive(run)
	runtime.KeepAlive(p)
	if watchErr != nil {
		_, waitErr := process.Wait()
		return nil, errors.Join(watchErr, waitErr)
	}
	if err := errors.Join(err, readErr); err != nil {
		return nil, err
	}
	for i := range run.all {
		p.ops[i].result = run.all[i].result
	}
	if run.ended != 0 {
		_, err := process.Wait()
		return nil, errors.Join(p.failure(int(run.failed)), err)
	}
	return process, nil
}
