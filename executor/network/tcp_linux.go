package network

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// accept answers a connection that the step begins, in a goroutine of its own. It is accepted
// when the outside has accepted it, and refused if that cannot be had.
func (n *Network) accept(r *tcp.ForwarderRequest) {
	if !n.begin() {
		r.Complete(false)
		return
	}
	defer n.work.Done()
	select {
	case n.streams <- struct{}{}:
	default:
		r.Complete(true)
		return
	}
	defer func() { <-n.streams }()
	id := r.ID()
	at, way := n.reach(addrPort(id.LocalAddress, id.LocalPort))
	var out *net.TCPConn
	if way != proxied {
		var err error
		if out, err = n.dial(at, way); err != nil {
			r.Complete(true)
			return
		}
		defer out.Close()
		defer n.keep(out)()
	}
	var queue waiter.Queue
	endpoint, failed := r.CreateEndpoint(&queue)
	r.Complete(false)
	if failed != nil {
		return
	}
	in := gonet.NewTCPConn(&queue, endpoint)
	defer in.Close()
	defer n.keep(in)()
	if way == proxied {
		n.proxy.serve(in, n.proxy.server)
		return
	}
	n.relay(in, out, endpoint.Abort)
}

// dial connects to what stands for an address.
func (n *Network) dial(at netip.AddrPort, way way) (*net.TCPConn, error) {
	switch way {
	case outside:
		return dialTCP(n.ctx, at)
	case resolver:
		err := error(errNoServer)
		for _, s := range n.servers {
			conn, failed := dialTCP(n.ctx, s)
			if failed == nil {
				return conn, nil
			}
			err = failed
		}
		return nil, err
	default:
		return nil, errRefused
	}
}

var (
	errRefused  = errors.New("not for steps")
	errNoServer = errors.New("the machine has no name server")
)

func dialTCP(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	conn, err := new(net.Dialer).DialTCP(ctx, "tcp", netip.AddrPort{}, to)
	return conn, err
}

// relay copies between the step's connection and that to the outside until both directions are at
// their end. Where one is broken the other is broken too.
func (n *Network) relay(in *gonet.TCPConn, out *net.TCPConn, abort func()) {
	var directions sync.WaitGroup
	sent := n.startSending()
	directions.Go(func() {
		defer sent()
		if err := pass(out, in); err != nil {
			_ = out.SetLinger(0)
			_ = out.Close()
			abort()
			return
		}
		_ = out.CloseWrite()
	})
	directions.Go(func() {
		if err := pass(in, out); err != nil {
			_ = out.SetLinger(0)
			_ = out.Close()
			abort()
			return
		}
		_ = in.CloseWrite()
	})
	directions.Wait()
}

// Buffers of a connection: small for the many that wait, larger where much arrives at once.
const (
	firstBuffer = 8 << 10
	lastBuffer  = 256 << 10
)

// pass copies from one end to the other until the end.
func pass(to io.Writer, from io.Reader) error {
	buf := make([]byte, firstBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, failed := to.Write(buf[:n]); failed != nil {
				return failed
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n == len(buf) && n < lastBuffer:
			buf = make([]byte, 2*n)
		}
	}
}
