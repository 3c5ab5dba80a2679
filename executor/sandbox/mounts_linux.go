package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

const (
	quiet      = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	defaultShm = 64 << 20
)

// prepareRoot mounts the root, nowhere yet, and finds the places of the kernel's
// file systems.
func (b *builder) prepareRoot() error {
	var err error
	if b.root, err = openRoot(b.spec.Root, b.stubs); err != nil {
		return err
	}
	for _, f := range b.spec.Appended {
		if err := b.root.append(f.Path, f.Data); err != nil {
			return err
		}
	}
	return b.root.setTimes(b.spec.Times)
}

// device is a node of /dev that every container has.
type device struct {
	name         string
	major, minor uint32
}

func devices() []device {
	return []device{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}
}

// prepareDev makes /dev with all that is in it.
func (b *builder) prepareDev() error {
	dev, err := sys.OpenFS("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_STRICTATIME,
		sys.Option{Name: "mode", Value: "755"}, sys.Option{Name: "size", Value: "65536k"})
	if err != nil {
		return err
	}
	b.dev = b.keep(dev)
	point, err := b.root.own("dev")
	if err != nil {
		return err
	}
	b.mountAt(dev, point, "/dev")
	for _, d := range devices() {
		if err := b.makeDevice(d); err != nil {
			return err
		}
	}
	if b.spec.Insecure && !b.machine.userNS {
		if err := b.makeAllDevices(); err != nil {
			return err
		}
	}
	for _, n := range b.spec.Nodes {
		if err := b.makeNode(n); err != nil {
			return fmt.Errorf("device %s: %w", n.Path, err)
		}
	}
	links := [][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
	}
	if _, err := os.Stat("/proc/kcore"); err == nil {
		links = append(links, [2]string{"/proc/kcore", "core"})
	}
	for _, l := range links {
		if err := unix.Symlinkat(l[0], int(dev.Fd()), l[1]); err != nil {
			return &os.PathError{Op: "symlink", Path: "/dev/" + l[1], Err: err}
		}
	}
	return b.prepareDevMounts()
}

// mountAt has mount attached at point, which is target for the step.
func (b *builder) mountAt(mount, point *os.File, target string) {
	b.attached = append(b.attached, &attachment{mount: mount, point: b.keep(point), target: target})
}

// place finds where the mount a has to be attached: in the root, or in the mount
// that covers that part of it.
func (b *builder) place(a *attachment, dir bool) error {
	target := a.target
	switch {
	case target == "/":
		return errors.New("nothing can be mounted on the root")
	case below(target, "/proc"), target == "/sys":
		return fmt.Errorf("nothing can be mounted at %s", target)
	case below(target, "/sys"):
		a.late = true // what is there is known when it is mounted
		return nil
	}
	// What comes later takes the place of what has it: a file cannot be mounted upon twice.
	b.attached = slices.DeleteFunc(b.attached, func(o *attachment) bool { return o.target == target && o != b.attached[0] && o.replaceable() })
	// The mount that was made last is the one on top.
	for _, on := range slices.Backward(b.attached) {
		if !below(target, on.target) {
			continue
		}
		in := &root{dir: on.dir()}
		point, err := in.mountPoint(target[len(on.target):], dir)
		if on.lasting {
			b.root.stubs = append(b.root.stubs, in.stubs...)
		} else {
			err = errors.Join(err, in.forget())
		}
		if err != nil {
			return err
		}
		if on.pick == nil {
			a.point = b.keep(point)
			return nil
		}
		a.on, a.below, on.host = on, target[len(on.target):], true
		return point.Close()
	}
	point, err := b.root.mountPoint(target, dir)
	if err != nil {
		return err
	}
	a.point = b.keep(point)
	return nil
}

// below reports whether the path name is dir or below it.
func below(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, dir+"/")
}

// inDev makes an entry of /dev and returns it as a place to mount on.
func (b *builder) inDev(name string, dir bool) (*os.File, error) {
	if err := makeEntry(b.dev, name, dir); err != nil {
		return nil, err
	}
	return openIn(b.dev, name, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH)
}

// makeDevice makes a device node, or where nodes cannot be made shows the host's.
func (b *builder) makeDevice(d device) error {
	if !b.machine.userNS {
		dev := int(unix.Mkdev(d.major, d.minor))
		if err := unix.Mknodat(int(b.dev.Fd()), d.name, unix.S_IFCHR|0o666, dev); err != nil {
			return &os.PathError{Op: "mknod", Path: "/dev/" + d.name, Err: err}
		}
		return sys.Chmod(b.dev, d.name, 0o666)
	}
	host, err := sys.CloneMount("/dev/" + d.name)
	if err != nil {
		return err
	}
	b.keep(host)
	point, err := b.inDev(d.name, false)
	if err != nil {
		return err
	}
	b.mountAt(host, point, "/dev/"+d.name)
	return nil
}

// prepareDevMounts makes the file systems below /dev that do not depend on the new
// process's namespaces.
func (b *builder) prepareDevMounts() error {
	pts, err := openDevpts()
	if err != nil {
		return err
	}
	b.keep(pts)
	size := b.spec.ShmSize
	if size == 0 {
		size = defaultShm
	}
	shm, err := sys.OpenFS("tmpfs", quiet, sys.Option{Name: "mode", Value: "1777"},
		sys.Option{Name: "size", Value: strconv.FormatInt(size, 10)}, sys.Option{Name: "source", Value: "shm"})
	if err != nil {
		return err
	}
	b.keep(shm)
	for _, m := range []struct {
		name  string
		mount *os.File
	}{{"pts", pts}, {"shm", shm}} {
		point, err := b.inDev(m.name, true)
		if err != nil {
			return err
		}
		b.mountAt(m.mount, point, "/dev/"+m.name)
	}
	if b.mqueue, err = b.inDev("mqueue", true); err != nil {
		return err
	}
	b.keep(b.mqueue)
	if b.spec.Terminal {
		return b.openTerminal(pts)
	}
	return nil
}

func openDevpts() (*os.File, error) {
	options := []sys.Option{{Name: "ptmxmode", Value: "0666"}, {Name: "mode", Value: "0620"}, {Name: "gid", Value: "5"}}
	attrs := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	pts, err := sys.OpenFS("devpts", attrs, options...)
	if errors.Is(err, unix.EINVAL) {
		// Group 5 does not exist in this user namespace.
		return sys.OpenFS("devpts", attrs, options[:2]...)
	}
	return pts, err
}

// prepareFiles makes the files that the sandbox itself shows.
func (b *builder) prepareFiles() error {
	files := []File{
		{Path: "/etc/resolv.conf", Data: b.machine.resolvConf(b.spec)},
		{Path: "/etc/hosts", Data: hostsFile(b.names(), b.spec.Address, b.spec.Hosts)},
	}
	for i, f := range append(files, b.spec.Files...) {
		mode := f.Mode
		if mode == 0 {
			mode = 0o644
		}
		name, err := b.publish(f.Data, mode)
		if err != nil {
			return err
		}
		attrs := uint64(unix.MOUNT_ATTR_RDONLY)
		if i < len(files) {
			attrs |= quiet // the caller's files may be programs
		}
		if err := b.bind(Mount{Source: name, Target: f.Path}, attrs); err != nil {
			return fmt.Errorf("show file at %s: %w", f.Path, err)
		}
	}
	return nil
}

const (
	moveByDescriptors = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
)

// enterRoot attaches the root and makes it the process's own; the host's tree is gone after that.
func (b *builder) enterRoot() {
	b.call("make mounts private", unix.SYS_MOUNT, num(0), b.str("/"), num(0), num(unix.MS_REC|unix.MS_PRIVATE), num(0))
	b.call("attach root", unix.SYS_MOVE_MOUNT, b.file(b.root.dir), b.str(""), atCwd(), b.str("/"), num(unix.MOVE_MOUNT_F_EMPTY_PATH))
	b.call("enter root", unix.SYS_FCHDIR, b.file(b.root.dir))
	b.call("pivot_root", unix.SYS_PIVOT_ROOT, b.str("."), b.str("."))
	b.call("detach host", unix.SYS_UMOUNT2, b.str("."), num(unix.MNT_DETACH))
	b.call("chdir /", unix.SYS_CHDIR, b.str("/"))
}

// seal makes the root read-only, but for what is mounted in it. It goes on with a second view of the whole tree:
// the first one stays writable for who removes what was made to be mounted upon.
func (b *builder) seal() {
	if !b.spec.Sealed {
		return
	}
	flags := unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE
	view := b.slot(b.call("open_tree /", unix.SYS_OPEN_TREE, atCwd(), b.str("/"), num(flags)))
	attr := b.words(unix.MOUNT_ATTR_RDONLY, 0, 0, 0) // struct mount_attr
	b.call("make root read-only", unix.SYS_MOUNT_SETATTR, view, b.str(""), num(unix.AT_EMPTY_PATH), attr, num(unix.MOUNT_ATTR_SIZE_VER0))
	b.call("attach root", unix.SYS_MOVE_MOUNT, view, b.str(""), atCwd(), b.str("/"), num(unix.MOVE_MOUNT_F_EMPTY_PATH))
	b.call("enter root", unix.SYS_FCHDIR, view)
	b.call("pivot_root", unix.SYS_PIVOT_ROOT, b.str("."), b.str("."))
	b.call("detach writable root", unix.SYS_UMOUNT2, b.str("."), num(unix.MNT_DETACH))
	b.call("chdir /", unix.SYS_CHDIR, b.str("/"))
}

// newFS makes a file system inside the new process.
func (b *builder) newFS(fstype string, attrs int) arg {
	fs := b.slot(b.call("fsopen "+fstype, unix.SYS_FSOPEN, b.str(fstype), num(unix.FSOPEN_CLOEXEC)))
	b.call("fsconfig "+fstype, unix.SYS_FSCONFIG, fs, num(unix.FSCONFIG_CMD_CREATE), num(0), num(0), num(0))
	return b.slot(b.call("fsmount "+fstype, unix.SYS_FSMOUNT, fs, num(unix.FSMOUNT_CLOEXEC), num(attrs)))
}

// move attaches a mount at a place.
func (b *builder) move(label string, mount, point arg) {
	b.call(label, unix.SYS_MOVE_MOUNT, mount, b.str(""), point, b.str(""), num(moveByDescriptors))
}

// mask is a path of the kernel's that a step must not read.
type mask struct {
	path string
	dir  bool
}

// findMasks returns those of docker's masked paths that exist here.
func findMasks() []mask {
	paths := []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
		"/sys/firmware", "/sys/devices/virtual/powercap",
	}
	throttle, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")
	if err == nil {
		paths = append(paths, throttle...)
	}
	var list []mask
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil {
			list = append(list, mask{p, info.IsDir()})
		}
	}
	return list
}

// findReadOnly returns those of docker's read-only paths that exist here.
func findReadOnly() []string {
	var list []string
	for _, p := range []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"} {
		if _, err := os.Stat(p); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// hide covers what docker masks and makes read-only what docker makes read-only.
func (b *builder) hide() {
	if b.spec.Insecure {
		return
	}
	empty := arg{}
	for _, m := range b.machine.masks {
		switch {
		case !m.dir:
			b.call("mask "+m.path, unix.SYS_MOUNT, b.str("/dev/null"), b.str(m.path), num(0), num(unix.MS_BIND), num(0)).
				except(uint64(unix.ENOENT))
		case empty == arg{}:
			empty = b.str(m.path)
			b.call("mask "+m.path, unix.SYS_MOUNT, b.str("tmpfs"), empty, b.str("tmpfs"), num(unix.MS_RDONLY), b.str("size=0k")).
				except(uint64(unix.ENOENT))
		default:
			b.call("mask "+m.path, unix.SYS_MOUNT, empty, b.str(m.path), num(0), num(unix.MS_BIND), num(0)).
				except(uint64(unix.ENOENT))
		}
	}
	for _, p := range b.machine.readOnly {
		at := b.str(p)
		b.call("bind "+p, unix.SYS_MOUNT, at, at, num(0), num(unix.MS_BIND|unix.MS_REC), num(0)).
			except(uint64(unix.ENOENT)).skip = 1
		b.call("make read-only "+p, unix.SYS_MOUNT, num(0), at, num(0),
			num(unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC), num(0))
	}
}

// prepareKernel finds the places of /proc and /sys.
func (b *builder) prepareKernel() error {
	for _, name := range []string{"proc", "sys"} {
		point, err := b.root.own(name)
		if err != nil {
			return err
		}
		b.kernel[name] = b.keep(point)
	}
	if !b.machine.userNS || b.spec.Network != HostNetwork {
		return nil
	}
	// A sysfs shows a network namespace, and only who owns that may mount one.
	host, err := sys.CloneMountTree("/sys")
	if err != nil {
		return err
	}
	b.hostSys = b.keep(host)
	if b.spec.Insecure {
		return nil
	}
	return sys.SetMount(host, unix.MOUNT_ATTR_RDONLY|quiet, true)
}

// openKernel makes the file systems that show the new process's own namespaces.
// In a user namespace the kernel lets that happen only where it sees one that hides nothing,
// so it comes before the host's are out of sight.
func (b *builder) openKernel() {
	b.proc = b.newFS("proc", quiet)
	switch {
	case b.hostSys != nil:
		b.sys = b.file(b.hostSys)
	default:
		b.sys = b.newFS("sysfs", quiet|b.readOnly())
	}
}

// mountKernel mounts /proc and /sys.
func (b *builder) mountKernel() {
	b.move("mount at /proc", b.proc, b.file(b.kernel["proc"]))
	b.move("mount at /sys", b.sys, b.file(b.kernel["sys"]))
	if b.machine.cgroup2 && b.hostSys == nil {
		// Good to have, and refused by some machines.
		b.call("mount at /sys/fs/cgroup", unix.SYS_MOUNT, b.str("cgroup"), b.str("/sys/fs/cgroup"), b.str("cgroup2"),
			num(b.readOnly()|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC), num(0)).tolerate = anyError
	}
}

// readOnly is the attribute of /sys and what is in it. MS_RDONLY and
// MOUNT_ATTR_RDONLY are one bit.
func (b *builder) readOnly() int {
	if b.spec.Insecure {
		return 0
	}
	return unix.MOUNT_ATTR_RDONLY
}
