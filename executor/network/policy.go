package network

import (
	"net/netip"
)

// The addresses of a step's network.
const (
	// Gateway is the router, and with [Config.HostGateway] the machine.
	Gateway = "10.0.2.2"
	// Nameserver resolves names.
	Nameserver = "10.0.2.3"

	// Address is that of the step itself.
	Address = "10.0.2.100"

	address4 = Address
	bits4    = 24
	gateway6 = "fd17:625c:f037:2::2"
	address6 = "fd17:625c:f037:2::100"
	bits6    = 64
)

// closed are the networks that no step reaches, whatever the machine's routes say: what is
// meant for this machine or this link, and the metadata services of clouds, which give a machine's
// credentials to whoever asks from it.
func closed() []netip.Prefix {
	var list []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
		"100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
		"::/127", "fe80::/10", "fec0::/10", "ff00::/8",
		"fd00:ec2::254/128", "fd20:ce::254/128",
		"10.0.2.0/24", "fd17:625c:f037:2::/64", // the step's own
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

// embedding are networks of IPv6 addresses that stand for an IPv4 address, and where it begins.
func embedding() map[netip.Prefix]int {
	return map[netip.Prefix]int{
		netip.MustParsePrefix("::/96"):           12, // IPv4-compatible
		netip.MustParsePrefix("::ffff:0:0/96"):   12, // IPv4-mapped
		netip.MustParsePrefix("::ffff:0:0:0/96"): 12, // IPv4-translated
		netip.MustParsePrefix("64:ff9b::/96"):    12, // NAT64
		netip.MustParsePrefix("2002::/16"):       2,  // 6to4
	}
}

// refusal decides which addresses are not for steps.
type refusal struct {
	closed    []netip.Prefix
	embedding map[netip.Prefix]int
	// local reports whether the machine would deliver to itself what is sent to
	// an address, or does not know.
	local func(netip.Addr) bool
}

func newRefusal(local func(netip.Addr) bool) *refusal {
	return &refusal{closed: closed(), embedding: embedding(), local: local}
}

// refuses reports whether a step may not reach an address.
func (r *refusal) refuses(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return true
	}
	a = a.Unmap()
	for _, p := range r.closed {
		if p.Contains(a) {
			return true
		}
	}
	if a.Is6() {
		bytes := a.As16()
		for p, at := range r.embedding {
			if p.Contains(a) && r.refuses(netip.AddrFrom4([4]byte(bytes[at:]))) {
				return true
			}
		}
	}
	return r.local(a)
}

// versions of the IP protocol, as they stand in a packet.
const (
	ip4 = 4
	ip6 = 6
)

// version is the version of a packet that the stack may see, or 0. An echo request is
// for the gateway or for nobody: the stack would answer in the name of any machine.
func version(packet []byte) int {
	if len(packet) == 0 {
		return 0
	}
	switch v := int(packet[0] >> 4); {
	case v == ip4 && len(packet) >= 20:
		const icmp = 1
		if packet[9] == icmp && !own(packet[16:20]) {
			return 0
		}
		return v
	case v == ip6 && len(packet) >= 40:
		// Extension headers are looked into only as far as to say that there are some: neither
		// TCP nor UDP sends any.
		const icmp, tcp, udp = 58, 6, 17
		switch packet[6] {
		case tcp, udp:
			return v
		case icmp:
			if own(packet[24:40]) {
				return v
			}
		}
	}
	return 0
}

// own reports whether the bytes are one of the addresses that answer themselves.
func own(address []byte) bool {
	a, ok := netip.AddrFromSlice(address)
	if !ok {
		return false
	}
	switch a.String() {
	case Gateway, Nameserver, gateway6:
		return true
	}
	return false
}
