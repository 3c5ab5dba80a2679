package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// machineDevices are the devices that a step sees which is kept from nothing.
// There need not be any behind a name.
func machineDevices() []device {
	list := []device{
		{"kmsg", 1, 11}, {"cuse", 10, 203}, {"fuse", 10, 229}, {"kvm", 10, 232}, {"net/tun", 10, 200}, {"loop-control", 10, 237},
	}
	return list
}

// makeAllDevices makes the machine's devices, and loop devices up to seven beyond the
// first that is free.
func (b *builder) makeAllDevices() error {
	for _, d := range machineDevices() {
		if err := b.makeDirs(path.Dir(d.name)); err != nil {
			return err
		}
		if err := b.makeDevice(d); err != nil {
			return err
		}
	}
	for i := range freeLoop() + 8 {
		name := fmt.Sprintf("loop%d", i)
		if err := unix.Mknodat(int(b.dev.Fd()), name, unix.S_IFBLK|0o666, int(unix.Mkdev(7, uint32(i)))); err != nil {
			return &os.PathError{Op: "mknod", Path: "/dev/" + name, Err: err}
		}
		if err := sys.Chmod(b.dev, name, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// freeLoop is the number of the first loop device that is free, 0 where nobody says.
func freeLoop() int {
	f, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	n, err := unix.IoctlRetInt(int(f.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return 0
	}
	return n
}

// makeDirs makes a directory of /dev with those above it.
func (b *builder) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	if err := b.makeDirs(path.Dir(dir)); err != nil {
		return err
	}
	if err := unix.Mkdirat(int(b.dev.Fd()), dir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: "/dev/" + dir, Err: err}
	}
	return nil
}

// makeNode makes a device of the host, or shows the host's where none can be made.
func (b *builder) makeNode(n Node) error {
	name, ok := strings.CutPrefix(path.Clean(n.Path), "/dev/")
	if !ok {
		return errors.New("it is not in /dev")
	}
	var st unix.Stat_t
	if err := unix.Stat(n.HostPath, &st); err != nil {
		return &os.PathError{Op: "stat", Path: n.HostPath, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		return fmt.Errorf("%s is no device", n.HostPath)
	}
	if err := b.makeDirs(path.Dir(name)); err != nil {
		return err
	}
	if unix.Faccessat(int(b.dev.Fd()), name, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) == nil {
		if b.machine.userNS && n.HostPath == "/dev/"+name {
			return nil // it is one of those that all have
		}
		if err := unix.Unlinkat(int(b.dev.Fd()), name, 0); err != nil {
			return &os.PathError{Op: "replace", Path: "/dev/" + name, Err: err}
		}
	}
	if b.machine.userNS {
		host, err := sys.CloneMount(n.HostPath)
		if err != nil {
			return err
		}
		b.keep(host)
		point, err := b.inDev(name, false)
		if err != nil {
			return err
		}
		b.mountAt(host, point, "/dev/"+name)
		return nil
	}
	mode := n.Mode
	if mode == 0 {
		mode = st.Mode & 0o777
	}
	if err := unix.Mknodat(int(b.dev.Fd()), name, kind|0o600, int(st.Rdev)); err != nil {
		return &os.PathError{Op: "mknod", Path: "/dev/" + name, Err: err}
	}
	if err := unix.Fchownat(int(b.dev.Fd()), name, n.UID, n.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "chown", Path: "/dev/" + name, Err: err}
	}
	return sys.Chmod(b.dev, name, mode)
}
