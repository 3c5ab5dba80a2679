package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Sandbox starts processes. It can be used by many goroutines.
type Sandbox struct {
	dir     string
	stubs   string
	filter  func() ([]bpfInstruction, error)
	guard   func() (*guard, error) // started by the first step
	guarded *guard
	machine machine
}

// machine is what the sandbox has to know of where it runs.
type machine struct {
	userNS     bool // device nodes cannot be made
	setgroups  bool
	cgroup2    bool // the one hierarchy is at /sys/fs/cgroup
	resolvConf func(*Spec) []byte
	masks      []mask
	readOnly   []string
}

// Open makes ready to start processes. dir is an empty directory on a file system that
// can be a lower layer of an overlay; the sandbox puts small files there and the caller removes
// it after the last process has ended.
func Open(dir string) (*Sandbox, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Sandbox{dir: dir, stubs: filepath.Join(dir, "stubs"), filter: sync.OnceValues(defaultFilter)}
	s.guard = sync.OnceValues(func() (g *guard, err error) {
		s.guarded, err = startGuard()
		return s.guarded, err
	})
	if err := os.MkdirAll(filepath.Join(s.stubs, "etc"), 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{"hosts", "resolv.conf"} {
		f, err := os.OpenFile(filepath.Join(s.stubs, "etc", name), os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	s.machine, err = lookAround()
	return s, err
}

// Close ends what the sandbox has started beside the steps. None is running.
func (s *Sandbox) Close() error {
	if s.guarded == nil {
		return nil
	}
	return s.guarded.close()
}

// lookAround finds out about the machine.
func lookAround() (machine, error) {
	m := machine{resolvConf: resolvConfOnce(), setgroups: true}
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return m, err
	}
	// In the first user namespace every ID is itself.
	m.userNS = strings.Join(strings.Fields(string(ids)), " ") != "0 0 4294967295"
	if deny, err := os.ReadFile("/proc/self/setgroups"); err == nil {
		m.setgroups = strings.TrimSpace(string(deny)) != "deny"
	}
	_, err = os.Stat("/sys/fs/cgroup/cgroup.subtree_control")
	m.cgroup2 = err == nil
	m.masks, m.readOnly = findMasks(), findReadOnly()
	return m, nil
}

// publish puts data into a file of the sandbox's directory and returns its path.
// Equal files are one: the first. A file that another one replaced can be shown
// nowhere any more, and whoever had just opened it could not start.
func (s *Sandbox) publish(data []byte, mode uint32) (string, error) {
	sum := sha256.Sum256(data)
	name := filepath.Join(s.dir, fmt.Sprintf("file-%s-%o", hex.EncodeToString(sum[:16]), mode))
	if _, err := os.Lstat(name); err == nil {
		return name, nil
	}
	f, err := os.CreateTemp(s.dir, "new-")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(os.FileMode(mode)), f.Close())
	if err == nil {
		err = os.Link(f.Name(), name)
	}
	if errors.Is(err, os.ErrExist) {
		err = nil
	}
	return name, errors.Join(err, os.Remove(f.Name()))
}

// builder is a program being written, with all that is open for it.
type builder struct {
	*program
	*Sandbox
	spec     *Spec
	root     *root
	flags    uintptr
	attached []*attachment
	sockets  []*socket
	open     []*os.File          // to be closed when the process has started
	kernel   map[string]*os.File // the places of /proc and /sys
	hostSys  *os.File
	dev      *os.File
	mqueue   *os.File
	console  *os.File
	status   arg
	proc     arg
	sys      arg
	master   *os.File
	stdio    [3]*os.File
	pipes    []*os.File // those of stdio that nobody else has
	user     account
}

// attachment is a mount and where it goes.
type attachment struct {
	mount, point *os.File
	target       string
	// pick, where it is not nil, is what of the mount is shown.
	pick *os.File
	// on is the attachment that covers the place, if what that shows is picked: then
	// the place is at below in it, and point is nil.
	on    *attachment
	below string
	shown arg  // of pick: the mount that shows it
	host  bool // something is mounted on it
	// lasting says that what is made in it stays when the step has ended, unless it is
	// removed.
	lasting bool
	// late says that it is attached when the kernel's own file systems are.
	late bool
}

// replaceable reports whether nothing is attached to it.
func (a *attachment) replaceable() bool { return !a.host }

// dir is the directory that the attachment shows.
func (a *attachment) dir() *os.File {
	if a.pick != nil {
		return a.pick
	}
	return a.mount
}

// keep has f closed when the process has started, or cannot be.
func (b *builder) keep(f *os.File) *os.File {
	b.open = append(b.open, f)
	return f
}

func (b *builder) closeOpen() {
	for _, f := range b.open {
		f.Close()
	}
	b.open = nil
}

// write writes the whole program.
func (b *builder) write() error {
	for _, part := range []func() error{
		b.prepareRoot, b.prepareKernel, b.prepareDev, b.prepareFiles, b.prepareMounts, b.findUser, b.prepareDir,
	} {
		if err := part(); err != nil {
			return err
		}
	}
	if err := b.givePipes(); err != nil {
		return err
	}
	if b.machine.cgroup2 {
		b.flags |= unix.CLONE_NEWCGROUP
	}
	b.network()
	b.openKernel()
	b.enterRoot()
	b.attach(false)
	b.mountKernel()
	b.attach(true)
	b.hide()
	b.seal()
	b.identify()
	b.standardIO()
	b.leaveParent()
	if err := b.limits(); err != nil {
		return err
	}
	if err := b.dropPrivileges(); err != nil {
		return err
	}
	b.execute()
	return nil
}

// givePipes makes the command's user the owner of the pipes and the terminal made for it:
// /dev/stdout can be opened then.
func (b *builder) givePipes() error {
	if b.user.uid == 0 {
		return nil
	}
	for _, f := range b.pipes {
		if err := f.Chown(b.user.uid, -1); err != nil {
			return err
		}
	}
	return nil
}

// namespaces are what every step has of its own.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
