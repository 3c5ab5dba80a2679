package sandbox

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reexecName is what the program is called when it is to become a step.
const reexecName = "builder-sandbox"

// firstFile is the descriptor of the first of a program's files in a re-executed
// process; below it are the program itself and the status pipe.
const (
	programFile = 3
	firstFile   = 4 // the status pipe
)

// image is a program on its way to another process.
type image struct {
	Ops      []byte
	Data     []byte
	Pointers []int
	Files    int

	// For [Spec.Init]: where the execution begins, and what is executed.
	Init, Terminal bool
	Joins          bool // the command begins a session of its own
	ExecAt         int
	Execs          map[int]string
	Args, Env      []string
}

// Init becomes the step if this process was started to be one, and then never returns.
// It must be the first thing that main does.
func Init() {
	if len(os.Args) == 1 && os.Args[0] == guardName {
		os.Exit(becomeGuard())
	}
	if len(os.Args) != 1 || os.Args[0] != reexecName {
		return
	}
	runtime.LockOSThread()
	os.Exit(becomeStep())
}

func becomeStep() int {
	var im image
	if err := gob.NewDecoder(os.NewFile(programFile, "program")).Decode(&im); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox: read program:", err)
		return 125
	}
	closeStrangers(firstFile + im.Files)
	ops := make([]op, len(im.Ops)/opSize)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&ops[0])), len(im.Ops)), im.Ops)
	load(ops, im.Data, im.Pointers, uint64(uintptr(unsafe.Pointer(&im.Data[0]))), func(i int) int { return firstFile + i })
	if im.Init {
		return runInit(ops, &im)
	}
	failed := interpret(ops, im.Files, syscall.RawSyscall6)
	report(ops, failed)
	runtime.KeepAlive(im.Data)
	return 125
}

// systemCall is how a system call is made.
type systemCall func(nr, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, errno syscall.Errno)

// syscallOnAllThreads has the calls that change one thread's rights change those of all threads,
// for a process that stays a Go program.
func syscallOnAllThreads(nr, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, errno syscall.Errno) {
	switch nr {
	case unix.SYS_SECCOMP:
		a2 |= unix.SECCOMP_FILTER_FLAG_TSYNC
	case unix.SYS_SETGROUPS, unix.SYS_SETRESGID, unix.SYS_SETRESUID, unix.SYS_CAPSET, unix.SYS_PRCTL:
		r1, r2, errno = syscall.AllThreadsSyscall6(nr, a1, a2, a3, a4, a5, a6)
		if errno != unix.ENOTSUP {
			return r1, r2, errno
		}
		// A program with C in it, as the race detector makes one: the thread that starts the command
		// has what it should, which is what counts.
	}
	return syscall.RawSyscall6(nr, a1, a2, a3, a4, a5, a6)
}

// interpret makes the calls one after the other, and returns the first that
// failed. If all goes well it does not return.
func interpret(ops []op, files int, call systemCall) int {
	var slots [maxSlots]uintptr
	for i := 0; i < len(ops); i++ {
		o := &ops[i]
		if o.nr == unix.SYS_CLOSE_RANGE {
			// The Go runtime has descriptors too, and would not survive their loss. They
			// are closed by the execution.
			closeFiles(files, slots[:])
			o.args[2] = unix.CLOSE_RANGE_CLOEXEC
		}
		var a [6]uintptr
		for n := range a {
			a[n] = uintptr(o.args[n])
			if o.slots>>n&1 != 0 {
				a[n] = slots[o.args[n]]
			}
		}
		r, _, errno := call(uintptr(o.nr), a[0], a[1], a[2], a[3], a[4], a[5])
		if errno == 0 {
			o.result = int64(r)
			if o.out != noSlot {
				slots[o.out] = r
			}
			continue
		}
		o.result = -int64(errno)
		if !o.tolerates(errno) {
			return i
		}
		i += int(o.skip)
	}
	return len(ops)
}

// closeFiles closes what the program was given and what it opened.
func closeFiles(files int, slots []uintptr) {
	for fd := firstFile; fd < firstFile+files; fd++ {
		_ = unix.Close(fd)
	}
	for _, fd := range slots {
		if fd > statusDescriptor {
			_ = unix.Close(int(fd)) // or it is closed already
		}
	}
}

// closeStrangers closes descriptors that somebody above the parent forgot to close; all that
// the Go runtime opens are closed by the execution.
func closeStrangers(first int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < first {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

func (o *op) tolerates(errno syscall.Errno) bool {
	for n := range 4 {
		if e := o.tolerate >> (16 * n) & 0xffff; e == 0xffff || e == uint64(errno) {
			return true
		}
	}
	return false
}

// report tells the parent which call failed and what all of them returned.
func report(ops []op, failed int) {
	out := make([]int64, 0, len(ops)+1)
	out = append(out, int64(failed))
	for i := range ops {
		out = append(out, ops[i].result)
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&out[0])), 8*len(out))
	for _, fd := range []int{statusDescriptor, firstFile} {
		if _, err := unix.Write(fd, b); err == nil {
			return
		}
	}
}

// startReexec starts this program again as the process that executes p.
func startReexec(p *program, flags uintptr, spec *Spec, watch func(pid int) error) (_ *os.Process, err error) {
	im := image{Data: p.data, Pointers: p.pointers, Files: len(p.files), Init: spec.Init, Terminal: spec.Terminal, Joins: spec.joins}
	if spec.Init {
		im.ExecAt, im.Execs, im.Args, im.Env = p.execAt, p.execs, p.args, p.env
	}
	im.Ops = unsafe.Slice((*byte)(unsafe.Pointer(&p.ops[0])), opSize*len(p.ops))
	text, err := memoryFile("program")
	if err != nil {
		return nil, err
	}
	defer text.Close()
	if err := gob.NewEncoder(text).Encode(im); err != nil {
		return nil, err
	}
	if _, err := text.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}

	status, theirs, err := statusSocket()
	if err != nil {
		return nil, err
	}
	defer status.Close()
	defer theirs.Close()
	p.files[0] = theirs
	files := []uintptr{0, 1, 2, text.Fd()}
	for _, f := range p.files {
		files = append(files, f.Fd())
	}

	pid, err := syscall.ForkExec("/proc/self/exe", []string{reexecName}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1", "GOGC=off"},
		Files: files,
		Sys:   &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL},
	})
	runtime.KeepAlive(p)
	if err != nil {
		return nil, fmt.Errorf("start the process of a sandbox: %w", err)
	}
	theirs.Close()
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	first, err := watched(status, pid, watch)
	if err == nil {
		var answer []byte
		if answer, err = readStatus(status); err == nil {
			err = p.readReport(append(first, answer...))
		}
	}
	if err != nil {
		_, waitErr := process.Wait()
		return nil, errors.Join(err, waitErr)
	}
	return process, nil
}

// alive is what a process writes to the status socket when it is about to execute
// the command: the write kills it if its parent is gone. Then it waits for an answer.
const alive = '+'

// watched waits until the process is about to execute the command, has watch told of it,
// and lets it go on. Before that the process dies with this one; from then on it may
// change its user, and the kernel forgets that it should. It returns what else was read.
func watched(status *os.File, pid int, watch func(pid int) error) ([]byte, error) {
	first := make([]byte, 1)
	if n, err := status.Read(first); n == 0 {
		if errors.Is(err, io.EOF) {
			err = nil // it has ended
		}
		return nil, err
	}
	if first[0] != alive {
		return first, nil
	}
	if err := watch(pid); err != nil {
		return nil, errors.Join(err, unix.Kill(pid, unix.SIGKILL))
	}
	// It may have been killed by now.
	_, _ = status.Write([]byte{alive})
	return nil, nil
}

// readReport notes what the child said about the calls.
func (p *program) readReport(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if len(b) != 8*(len(p.ops)+1) {
		return fmt.Errorf("sandbox: the process said %d bytes", len(b))
	}
	words := make([]int64, len(p.ops)+1)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(b)), b)
	for i := range p.ops {
		p.ops[i].result = words[i+1]
	}
	return p.failure(int(words[0]))
}

// failure is what it means that call i failed.
func (p *program) failure(i int) error {
	if i < len(p.ops) {
		if _, ok := p.execs[i]; !ok {
			return os.NewSyscallError(p.labels[i], syscall.Errno(-p.ops[i].result))
		}
	}
	return p.notExecuted(p.name)
}

func memoryFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readStatus reads to the end. A process that was killed before it read its answer
// ends with an error too.
func readStatus(status *os.File) ([]byte, error) {
	b, err := io.ReadAll(status)
	if errors.Is(err, unix.ECONNRESET) {
		err = nil
	}
	return b, err
}

// statusSocket is a pair of sockets on which a read blocks a thread, not the poller:
// the answer comes within a millisecond.
func statusSocket() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "status"), os.NewFile(uintptr(fds[1]), "status"), nil
}
