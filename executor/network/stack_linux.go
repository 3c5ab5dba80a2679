package network

import (
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const nic tcpip.NICID = 1

// maxConnecting is how many connections may wait for the outside at the same time; the
// kernel in the step tries the others again.
const maxConnecting = 1024

// newStack makes the stack that ends the step's connections, without link yet.
func newStack(with6 bool, accept func(*tcp.ForwarderRequest), receive udp.ForwarderHandler) (*stack.Stack, error) {
	options := stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	}
	routes := []tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}}
	if with6 {
		options.NetworkProtocols = append(options.NetworkProtocols, ipv6.NewProtocol)
		options.TransportProtocols = append(options.TransportProtocols, icmp.NewProtocol6)
		routes = append(routes, tcpip.Route{Destination: header.IPv6EmptySubnet, NIC: nic})
	}
	s := stack.New(options)
	s.SetRouteTable(routes)
	sack := tcpip.TCPSACKEnabled(true)
	receiveSize := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 8 << 20}
	sendSize := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 8 << 20}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &receiveSize, &sendSize} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return s, fmt.Errorf("set option of the network's stack: %v", err)
		}
	}
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s, 0, maxConnecting, accept).HandlePacket)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s, receive).HandlePacket)
	return s, nil
}

// attach connects the stack with the step's interface. It answers in the name of every address.
func attach(s *stack.Stack, l *link, with6 bool) error {
	if err := s.CreateNIC(nic, l); err != nil {
		return fmt.Errorf("attach the network's stack: %v", err)
	}
	addresses := []string{Gateway, Nameserver}
	if with6 {
		addresses = append(addresses, gateway6)
	}
	for _, a := range addresses {
		own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber}
		address := netip.MustParseAddr(a)
		if address.Is6() {
			own.Protocol = ipv6.ProtocolNumber
		}
		own.AddressWithPrefix = tcpip.AddrFromSlice(address.AsSlice()).WithPrefix()
		if err := s.AddProtocolAddress(nic, own, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("give the network's stack an address: %v", err)
		}
	}
	if err := s.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("attach the network's stack: %v", err)
	}
	if err := s.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("attach the network's stack: %v", err)
	}
	return nil
}

// addrPort translates the stack's word for an address.
func addrPort(a tcpip.Address, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return netip.AddrPortFrom(addr, port)
}
