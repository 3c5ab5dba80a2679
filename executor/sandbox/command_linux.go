package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"builder/internal/nofile"
)

// statusDescriptor is where a process has its end of the status pipe when it is about to
// execute the command: all above it is closed.
const statusDescriptor = 3

// nativeUint32 appends n as the machine has it in memory.
func nativeUint32(b []byte, n uint32) []byte { return binary.NativeEndian.AppendUint32(b, n) }

// network enters the step's network namespace, or makes one and brings up "lo" in it.
func (b *builder) network() {
	switch b.spec.Network {
	case HostNetwork:
		return
	case OwnNetwork:
		b.call("enter network namespace", unix.SYS_SETNS, b.file(b.spec.NetworkNamespace), num(unix.CLONE_NEWNET))
		return
	case NoNetwork:
	}
	b.flags |= unix.CLONE_NEWNET
	request := make([]byte, 40) // struct ifreq: the name, then the flags
	copy(request, "lo")
	binary.NativeEndian.PutUint16(request[unix.IFNAMSIZ:], unix.IFF_UP)
	s := b.slot(b.call("socket", unix.SYS_SOCKET, num(unix.AF_INET), num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), num(0)))
	b.call("bring up lo", unix.SYS_IOCTL, s, num(unix.SIOCSIFFLAGS), b.bytes(request))
}

// identify gives the step a name and a keyring of its own.
func (b *builder) identify() {
	name := b.hostname()
	b.call("sethostname", unix.SYS_SETHOSTNAME, b.str(name), num(len(name)))
	if domain := b.spec.Domainname; domain != "" {
		b.call("setdomainname", unix.SYS_SETDOMAINNAME, b.str(domain), num(len(domain)))
	}
	b.call("join session keyring", unix.SYS_KEYCTL, num(unix.KEYCTL_JOIN_SESSION_KEYRING), num(0)).tolerate = anyError
}

// openTerminal makes a terminal in the step's own /dev/pts and shows it as /dev/console too.
func (b *builder) openTerminal(pts *os.File) error {
	if err := b.newTerminal(pts); err != nil {
		return err
	}
	var err error
	b.console, err = b.inDev("console", false)
	if err != nil {
		return err
	}
	b.keep(b.console)
	return nil
}

// newTerminal makes a terminal in a devpts.
func (b *builder) newTerminal(pts *os.File) error {
	master, err := openIn(pts, "ptmx", unix.O_RDWR|unix.O_NOCTTY, unix.RESOLVE_BENEATH)
	if err != nil {
		return err
	}
	b.master = master
	unlock := 0
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlock))); e != 0 {
		return os.NewSyscallError("unlock terminal", e)
	}
	if err := setWindow(master, b.spec.Rows, b.spec.Columns); err != nil {
		return err
	}
	fd, _, e := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if e != 0 {
		return os.NewSyscallError("open terminal", e)
	}
	slave := b.keep(os.NewFile(fd, "terminal"))
	b.stdio = [3]*os.File{slave, slave, slave}
	b.pipes = append(b.pipes, slave)
	return nil
}

// standardIO gives the command its three descriptors. Where the files that they come from
// have low numbers themselves they must not be overwritten before they are used.
func (b *builder) standardIO() {
	if b.spec.Terminal && !b.spec.joins {
		b.call("mount at /dev/console", unix.SYS_MOUNT, b.str("/dev/pts/0"), b.str("/dev/console"), num(0), num(unix.MS_BIND), num(0))
	}
	var high [3]arg
	for i, f := range b.stdio {
		high[i] = b.slot(b.call("duplicate a descriptor", unix.SYS_FCNTL, b.file(f), num(unix.F_DUPFD_CLOEXEC), num(16)))
	}
	b.status = b.slot(b.call("duplicate a descriptor", unix.SYS_FCNTL, arg{inFiles, 0}, num(unix.F_DUPFD_CLOEXEC), num(16)))
	for i := range high {
		b.call("set a standard descriptor", unix.SYS_DUP3, high[i], num(i), num(0))
	}
	if b.spec.joins {
		return // the command begins a session, in its own pid namespace
	}
	b.call("setsid", unix.SYS_SETSID).except(uint64(unix.EPERM)) // a leader already
	if b.spec.Terminal {
		b.call("set controlling terminal", unix.SYS_IOCTL, num(0), num(unix.TIOCSCTTY), num(0))
	}
}

// leaveParent closes all that is the parent's, before anything in the root is reached by a path:
// no directory of the host is left in /proc/self/fd.
func (b *builder) leaveParent() {
	b.call("set status descriptor", unix.SYS_DUP3, b.status, num(statusDescriptor), num(unix.O_CLOEXEC))
	b.call("close descriptors", unix.SYS_CLOSE_RANGE, num(statusDescriptor+1), num(uint32(0xffffffff)), num(0))
	dir := b.dir()
	b.call("chdir "+dir, unix.SYS_CHDIR, b.str(dir))
}

func (b *builder) dir() string { return path.Join("/", b.spec.Dir) }

// prepareDir makes the working directory where it is missing.
func (b *builder) prepareDir() error {
	dir := b.dir()
	for _, name := range []string{"/proc", "/sys"} {
		if below(dir, name) {
			return nil // the kernel's own
		}
	}
	for i := len(b.attached) - 1; i >= 0; i-- {
		if a := b.attached[i]; below(dir, a.target) {
			return (&root{dir: a.dir()}).workingDir(dir[len(a.target):])
		}
	}
	return b.root.workingDir(dir)
}

// limits sets the mask for new files and the resource limits. To raise a limit
// may be impossible even for root; the command then has what there is.
func (b *builder) limits() error {
	b.call("umask", unix.SYS_UMASK, num(0o022))
	if soft, hard, ok := nofile.Limit(); ok {
		b.call("prlimit nofile", unix.SYS_PRLIMIT64, num(0), num(unix.RLIMIT_NOFILE), b.words(soft, hard), num(0)).
			except(uint64(unix.EPERM))
	}
	for _, l := range b.spec.Rlimits {
		resource, ok := resources()[l.Name]
		if !ok {
			return fmt.Errorf("unknown resource limit %q", l.Name)
		}
		b.call("prlimit "+l.Name, unix.SYS_PRLIMIT64, num(0), num(resource), b.words(uint64(l.Soft), uint64(l.Hard)), num(0)).
			except(uint64(unix.EPERM))
	}
	return nil
}

func resources() map[string]int {
	return map[string]int{
		"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
		"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
		"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
		"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
		"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
	}
}

// execute becomes the command. A name is looked for in PATH by trying.
func (b *builder) execute() {
	b.call("die with the parent", unix.SYS_PRCTL, num(unix.PR_SET_PDEATHSIG), num(int(unix.SIGKILL)), num(0), num(0), num(0))
	b.call("look for the parent", unix.SYS_WRITE, num(statusDescriptor), b.bytes([]byte{alive}), num(1))
	b.call("wait for the guard", unix.SYS_READ, num(statusDescriptor), b.bytes(make([]byte, 1)), num(1)).except(uint64(unix.EINTR))
	b.call("unblock signals", unix.SYS_RT_SIGPROCMASK, num(unix.SIG_SETMASK), b.words(0), num(0), num(8))
	b.execAt, b.args, b.env = len(b.ops), b.spec.Args, b.environment()
	argv, envp := b.strings(b.args), b.strings(b.env)
	for _, file := range lookUp(b.name, b.variable("PATH")) {
		at, search := b.str(file), !strings.Contains(b.name, "/")
		if search {
			o := b.call("access "+file, unix.SYS_FACCESSAT2, atCwd(), at, num(unix.X_OK), num(unix.AT_EACCESS))
			o.tolerate, o.skip = anyError, 1
		}
		b.execs[len(b.ops)] = file
		o := b.call("exec "+file, unix.SYS_EXECVE, at, argv, envp)
		if search {
			o.except(uint64(unix.EACCES)) // a directory, or a file system without execution: go on looking
		}
	}
}

// variable is a variable of the command's environment; the last one counts.
func (b *builder) variable(name string) string {
	value := ""
	for _, s := range b.spec.Env {
		if v, ok := strings.CutPrefix(s, name+"="); ok {
			value = v
		}
	}
	return value
}

var errNotFound = errors.New("executable file not found in $PATH")

// notExecuted says why none of the execs did.
func (p *program) notExecuted(name string) error {
	for i := range p.ops {
		file, ok := p.execs[i]
		o := &p.ops[i]
		if !ok || o.result >= 0 {
			continue
		}
		errno := syscall.Errno(-o.result)
		code := 126
		if errno == unix.ENOENT || errno == unix.ENOTDIR {
			code = 127
		}
		return &CommandError{Name: file, Code: code, Err: errno}
	}
	for i := range p.ops {
		// Found, but not executable.
		if strings.HasPrefix(p.labels[i], "access ") && p.ops[i].result == -int64(unix.EACCES) {
			return &CommandError{Name: name, Code: 126, Err: unix.EACCES}
		}
	}
	return &CommandError{Name: name, Code: 127, Err: errNotFound}
}
