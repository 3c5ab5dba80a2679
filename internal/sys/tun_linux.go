package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// OpenTUN makes a network interface of the calling thread's network namespace whose packets
// are read and written at the descriptor that it returns, which does not block. The interface
// is persistent: closing the descriptor, which takes tens of milliseconds otherwise, leaves it,
// and it goes with its namespace.
func OpenTUN(name string) (*os.File, error) {
	const device = "/dev/net/tun"
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: device, Err: err}
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "make tun", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), device), nil
}

// OpenPacket returns a descriptor at which the frames that arrive at an interface are read, and
// written that leave by it: packet(7). It belongs to the calling thread's network namespace and
// does not block.
func OpenPacket(index int) (*os.File, error) {
	const all = 0x0300 // ETH_P_ALL, in the network's order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("packet socket", err)
	}
	const ignoreOutgoing = 23 // PACKET_IGNORE_OUTGOING, Linux 4.20
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, ignoreOutgoing, 1)
	// An interface that has just come up has no queue yet: a worker of the kernel's makes it, some time later.
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	// Half a dozen of the largest packets would be all that fits otherwise.
	for _, option := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 4<<20)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind packet socket", err)
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}
