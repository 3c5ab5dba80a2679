package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

const (
	interfaceName = "eth0"
	mtu           = 65520
)

// device is a network namespace and this process's end of its interface.
type device struct {
	namespace *os.File
	file      *os.File
	// frame is what stands before a packet at file, but for the type of its protocol: nothing, or the
	// addresses of an Ethernet frame.
	frame []byte
}

func (d *device) close() error {
	var errs []error
	for _, f := range []*os.File{d.file, d.namespace} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// newDevice makes a network namespace with an interface and its way to the outside.
func (s *Switch) newDevice(with6, veth, anyPort bool) (d *device, err error) {
	s.thread.do(func() {
		d = &device{}
		if err = d.make(with6, veth); err != nil {
			err = errors.Join(err, d.close())
			return
		}
		if anyPort {
			// A file of this thread's namespace. Where it cannot be written, ports below 1024 stay root's.
			_ = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
		}
	})
	return d, err
}

var errNamespace = errors.New("make a network namespace")

// make does the work of newDevice on a thread that nothing else runs on.
func (d *device) make(with6, veth bool) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%w: %w", errNamespace, err)
	}
	var err error
	if d.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	r, err := sys.OpenRoute()
	if err != nil {
		return err
	}
	defer r.Close()
	if veth {
		err = d.makeVeth(r)
	} else {
		err = d.makeTUN(r)
	}
	if err != nil {
		return err
	}
	return configure(r, with6)
}

// makeTUN makes the interface a TUN.
func (d *device) makeTUN(r *sys.Route) (err error) {
	if d.file, err = sys.OpenTUN(interfaceName); err != nil {
		return err
	}
	index, err := r.Index(interfaceName)
	if err != nil {
		return err
	}
	noLinkLocal(r, index)
	size := binary.NativeEndian.AppendUint32(nil, mtu)
	if _, err := r.Request(unix.RTM_NEWLINK, unix.NLM_F_ACK, linkMessage(index, 0, 0).Attribute(unix.IFLA_MTU, size)); err != nil {
		return fmt.Errorf("set MTU: %w", err)
	}
	return up(r, index, 0)
}

// makeVeth makes the interface one of a pair, and the file a socket that sees all that comes out of the
// other. It needs no device node. The other one is in the same namespace and has no
// address; what comes out there is addressed to none that the kernel knows, so it ends there.
func (d *device) makeVeth(r *sys.Route) (err error) {
	const other = "outside"
	inside := []byte{2, 0, 10, 0, 2, 100}
	size := binary.NativeEndian.AppendUint32(nil, mtu)
	name := func(s string) []byte { return append([]byte(s), 0) }
	peer := linkMessage(0, 0, 0).Attribute(unix.IFLA_IFNAME, name(other)).Attribute(unix.IFLA_MTU, size)
	info := sys.RouteMessage{}.Attribute(unix.IFLA_INFO_KIND, []byte("veth")).
		Attribute(unix.IFLA_INFO_DATA, sys.RouteMessage{}.Attribute(vethInfoPeer, peer))
	m := linkMessage(0, 0, 0).Attribute(unix.IFLA_IFNAME, name(interfaceName)).Attribute(unix.IFLA_MTU, size).
		Attribute(unix.IFLA_ADDRESS, inside).Attribute(unix.IFLA_LINKINFO, info)
	if _, err := r.Request(unix.RTM_NEWLINK, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, m); err != nil {
		return fmt.Errorf("make veth: %w", err)
	}
	for _, end := range []string{other, interfaceName} {
		index, err := r.Index(end)
		if err != nil {
			return err
		}
		noLinkLocal(r, index)
		// Without ARP the kernel addresses frames to the interface that they leave by.
		if err := up(r, index, unix.IFF_NOARP); err != nil {
			return err
		}
		if end == other {
			if d.file, err = sys.OpenPacket(index); err != nil {
				return err
			}
		}
	}
	d.frame = append(inside, 2, 0, 10, 0, 2, 2)
	return nil
}

// configure gives the interface its addresses.
func configure(r *sys.Route, with6 bool) error {
	const loopback = 1
	if err := up(r, loopback, 0); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	index, err := r.Index(interfaceName)
	if err != nil {
		return err
	}
	if err := addAddress(r, index, netip.MustParseAddr(address4), bits4, netip.MustParseAddr(Gateway)); err != nil {
		return fmt.Errorf("set address: %w", err)
	}
	if !with6 {
		return nil
	}
	if err := addAddress(r, index, netip.MustParseAddr(address6), bits6, netip.MustParseAddr(gateway6)); err != nil {
		return fmt.Errorf("set address: %w", err)
	}
	return nil
}
