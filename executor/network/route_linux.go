package network

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// delivery asks the kernel what it would do with a packet to an address: one of RTN_LOCAL,
// RTN_UNICAST and their kin.
func delivery(a netip.Addr) (uint8, error) {
	r, err := sys.OpenRoute()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	family, bits := uint8(unix.AF_INET), uint8(32)
	if a.Is6() {
		family, bits = unix.AF_INET6, 128
	}
	m := sys.RouteMessage{family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // struct rtmsg
	body, err := r.Request(unix.RTM_GETROUTE, 0, m.Attribute(unix.RTA_DST, a.AsSlice()))
	if err != nil {
		return 0, err
	}
	if len(body) < unix.SizeofRtMsg {
		return 0, unix.EPROTO
	}
	return body[7], nil // rtm_type
}

// isLocal reports whether anything but a router or a neighbour would get what is sent to an address. Where
// the kernel knows no way there is none to guard, and connecting says why.
func isLocal(a netip.Addr) bool {
	kind, err := delivery(a)
	return err != nil || kind != unix.RTN_UNICAST
}

// hasIP6 reports whether the machine has a way to the world by IPv6.
func hasIP6() bool { return !isLocal(netip.MustParseAddr("2001:4860:4860::8888")) }

// Attributes and values of linux/if_link.h that the unix package does not have.
const (
	inet6AddrGenMode = 8
	addrGenModeNone  = 1
	vethInfoPeer     = 1
)

// linkMessage is a request about an interface: struct ifinfomsg.
func linkMessage(index int, flags, change uint32) sys.RouteMessage {
	m := make(sys.RouteMessage, 4, 256)
	m = binary.NativeEndian.AppendUint32(m, uint32(index))
	m = binary.NativeEndian.AppendUint32(m, flags)
	return binary.NativeEndian.AppendUint32(m, change)
}

// up brings an interface up, with more flags.
func up(r *sys.Route, index int, flags uint32) error {
	_, err := r.Request(unix.RTM_NEWLINK, unix.NLM_F_ACK, linkMessage(index, unix.IFF_UP|flags, unix.IFF_UP|flags))
	return err
}

// noLinkLocal keeps the kernel from giving an interface an address of its own making.
func noLinkLocal(r *sys.Route, index int) {
	mode := sys.RouteMessage{}.Attribute(inet6AddrGenMode, []byte{addrGenModeNone})
	spec := sys.RouteMessage{}.Attribute(unix.AF_INET6, mode)
	// A kernel without IPv6 refuses, and needs none of this.
	_, _ = r.Request(unix.RTM_NEWLINK, unix.NLM_F_ACK, linkMessage(index, 0, 0).Attribute(unix.IFLA_AF_SPEC, spec))
}

// addAddress gives an interface an address, and makes gateway the way to everything else.
func addAddress(r *sys.Route, index int, a netip.Addr, bits int, gateway netip.Addr) error {
	family := uint8(unix.AF_INET)
	if a.Is6() {
		family = unix.AF_INET6
	}
	m := sys.RouteMessage{family, uint8(bits), unix.IFA_F_NODAD, 0} // struct ifaddrmsg
	m = binary.NativeEndian.AppendUint32(m, uint32(index))
	m = m.Attribute(unix.IFA_LOCAL, a.AsSlice()).Attribute(unix.IFA_ADDRESS, a.AsSlice())
	if _, err := r.Request(unix.RTM_NEWADDR, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, m); err != nil {
		return err
	}
	m = sys.RouteMessage{family, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	m = m.Attribute(unix.RTA_GATEWAY, gateway.AsSlice()).Attribute(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(index)))
	_, err := r.Request(unix.RTM_NEWROUTE, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, m)
	return err
}
