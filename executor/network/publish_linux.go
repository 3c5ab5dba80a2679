package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// Protocols that can be published.
const (
	TCP = "tcp"
	UDP = "udp"
)

// BindError is an address of the machine that cannot be listened at.
type BindError struct {
	Address netip.AddrPort
	Err     error
}

// Error is worded as docker's.
func (e *BindError) Error() string {
	why := e.Err.Error()
	switch {
	case errors.Is(e.Err, unix.EADDRINUSE):
		why = "port is already allocated"
	case errors.Is(e.Err, unix.EACCES):
		why = "this user may not listen at it"
	}
	return fmt.Sprintf("Bind for %s failed: %s", e.Address, why)
}

func (e *BindError) Unwrap() error { return e.Err }

// Publish has what arrives at an address of the machine go to a port inside, until the network is closed. Port 0 is
// one that is free; the address that was taken is returned.
func (n *Network) Publish(at netip.AddrPort, protocol string, port uint16) (netip.AddrPort, error) {
	family := "4"
	if at.Addr().Is6() {
		family = "6"
	}
	if protocol == UDP {
		conn, err := net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(at))
		if err != nil {
			return at, &BindError{at, err}
		}
		n.listen(conn, func() { n.receivePublished(conn, port) })
		return addrPortOf(conn.LocalAddr()), nil
	}
	l, err := net.ListenTCP("tcp"+family, net.TCPAddrFromAddrPort(at))
	if err != nil {
		return at, &BindError{at, err}
	}
	n.listen(l, func() { n.acceptPublished(l, port) })
	return addrPortOf(l.Addr()), nil
}

func addrPortOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort()
	case *net.UDPAddr:
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

// listen has serve run until the network is closed, which closes c.
func (n *Network) listen(c interface{ Close() error }, serve func()) {
	if !n.begin() {
		_ = c.Close()
		return
	}
	forget := n.keep(c)
	go func() {
		defer n.work.Done()
		defer forget()
		serve()
		_ = c.Close()
	}()
}

// inside is a port of the namespace, and outward where connections to it come from.
func inside(port uint16) tcpip.FullAddress {
	a := netip.MustParseAddr(address4)
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(a.AsSlice()), Port: port}
}

func outward() tcpip.FullAddress {
	a := netip.MustParseAddr(Gateway)
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(a.AsSlice())}
}

// acceptPublished answers connections to a published port.
func (n *Network) acceptPublished(l *net.TCPListener, port uint16) {
	for {
		conn, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// No descriptors, or no memory: others may end.
			select {
			case <-n.ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		if !n.begin() {
			_ = conn.Close()
			return
		}
		go func() {
			defer n.work.Done()
			n.pair(conn, port)
		}()
	}
}

// pair connects a connection of the outside to a port inside. Where nobody listens there it is broken.
func (n *Network) pair(conn *net.TCPConn, port uint16) {
	defer conn.Close()
	defer n.keep(conn)()
	select {
	case n.streams <- struct{}{}:
	default:
		_ = conn.SetLinger(0)
		return
	}
	defer func() { <-n.streams }()
	in, err := gonet.DialTCPWithBind(n.ctx, n.stack, outward(), inside(port), ipv4.ProtocolNumber)
	if err != nil {
		_ = conn.SetLinger(0)
		return
	}
	defer in.Close()
	defer n.keep(in)()
	n.relay(in, conn, func() { _ = in.Close() })
}

// receivePublished passes on the datagrams that arrive at a published port, and the answers to them.
func (n *Network) receivePublished(conn *net.UDPConn, port uint16) {
	var mu sync.Mutex
	flows := map[netip.AddrPort]*gonet.UDPConn{}
	buf := make([]byte, maxDatagram)
	for {
		size, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an answer to one of the datagrams that were sent
		}
		mu.Lock()
		in := flows[from]
		mu.Unlock()
		if in == nil {
			if in = n.flow(conn, from, port, func(in *gonet.UDPConn) {
				mu.Lock()
				defer mu.Unlock()
				if flows[from] = in; in == nil {
					delete(flows, from)
				}
			}); in == nil {
				continue
			}
		}
		// What does not get through is lost.
		_ = in.SetReadDeadline(time.Now().Add(idle))
		_, _ = in.Write(buf[:size])
	}
}

// flow is the way inside of the datagrams from one address. What comes back goes there, until there has been nothing for
// a while; then it is forgotten. It is nil where there are too many. note is told of it, and of its end with nil.
func (n *Network) flow(conn *net.UDPConn, from netip.AddrPort, port uint16, note func(*gonet.UDPConn)) *gonet.UDPConn {
	select {
	case n.flows <- struct{}{}:
	default:
		return nil
	}
	if !n.begin() {
		<-n.flows
		return nil
	}
	local, remote := outward(), inside(port)
	in, err := gonet.DialUDP(n.stack, &local, &remote, ipv4.ProtocolNumber)
	if err != nil {
		<-n.flows
		n.work.Done()
		return nil
	}
	_ = in.SetReadDeadline(time.Now().Add(idle))
	note(in)
	go func() {
		defer func() {
			<-n.flows
			n.work.Done()
		}()
		defer note(nil)
		defer in.Close()
		defer n.keep(in)()
		buf := make([]byte, maxDatagram)
		for {
			size, err := in.Read(buf)
			if err != nil {
				return
			}
			_ = in.SetReadDeadline(time.Now().Add(idle))
			_, _ = conn.WriteToUDPAddrPort(buf[:size], from)
		}
	}()
	return in
}
