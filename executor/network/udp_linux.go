package network

import (
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	idle        = time.Minute // after which a pair of addresses is forgotten
	maxDatagram = 64 << 10
)

// receive answers the first datagram from one address of the step to another one. It does not
// block: all others wait for it. What is not handled is told to be unreachable.
func (n *Network) receive(r *udp.ForwarderRequest) (handled bool) {
	id := r.ID()
	to, way := n.reach(addrPort(id.LocalAddress, id.LocalPort))
	if way != outside && way != resolver {
		return false
	}
	select {
	case n.flows <- struct{}{}:
	default:
		return true // lost, as datagrams may be
	}
	if !n.begin() {
		<-n.flows
		return true
	}
	var queue waiter.Queue
	endpoint, failed := r.CreateEndpoint(&queue)
	if failed != nil {
		<-n.flows
		n.work.Done()
		return true
	}
	in := gonet.NewUDPConn(&queue, endpoint)
	go func() {
		defer func() {
			<-n.flows
			n.work.Done()
		}()
		defer in.Close()
		defer n.keep(in)()
		if way == resolver {
			n.resolve(in)
			return
		}
		out, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			return
		}
		defer out.Close()
		defer n.keep(out)()
		exchange(in, out)
	}()
	return true
}

// exchange passes datagrams in both directions until there have been none for a while.
func exchange(in, out net.Conn) {
	var directions sync.WaitGroup
	for _, d := range [][2]net.Conn{{in, out}, {out, in}} {
		directions.Go(func() {
			passDatagrams(d[1], d[0], in, out)
			// Without this direction there is no use for the other one.
			_ = in.Close()
			_ = out.Close()
		})
	}
	directions.Wait()
}

// passDatagrams passes datagrams on. Each keeps both ends from being forgotten.
func passDatagrams(to, from, in, out net.Conn) {
	buf := make([]byte, maxDatagram)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, unix.ECONNREFUSED) {
			continue // an answer to one of the datagrams, not the end
		}
		if err != nil {
			return
		}
		deadline := time.Now().Add(idle)
		if errors.Join(in.SetReadDeadline(deadline), out.SetReadDeadline(deadline)) != nil {
			return
		}
		// What does not get through is lost.
		_, _ = to.Write(buf[:n])
	}
}
