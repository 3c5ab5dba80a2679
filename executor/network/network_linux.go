package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Config says what a step may reach beside the outside.
type Config struct {
	// HostGateway has the machine's loopback answer at [Gateway].
	HostGateway bool
	// AnyPort lets users other than root listen at ports below 1024 inside.
	AnyPort bool
	// Veth makes the interface without /dev/net/tun, as is done where that cannot be opened.
	Veth bool
	// Proxy, if it is not nil, has the step reach nothing but a proxy at [ProxyURL], whose certificates
	// it signs. Names are resolved there, with Hosts going first.
	Proxy *Authority
	Hosts map[string]string // names and their addresses
	// Direct has the proxy connect to whatever the machine does, itself included.
	Direct bool
	// servers take the place of the machine's name servers in tests.
	servers []netip.AddrPort
}

// Switch makes networks. The zero value is ready for use, by many goroutines.
type Switch struct {
	thread  thread
	closing sync.WaitGroup
	mu      sync.Mutex
	err     error
}

// Close waits for what networks have left to be closed. All of them are closed.
func (s *Switch) Close() error {
	s.closing.Wait()
	s.thread.close()
	return s.err
}

// close closes a descriptor that nobody uses any more: beside the steps, since for a socket the
// kernel waits until all processors have looked away.
func (s *Switch) close(f *os.File) {
	s.closing.Go(func() {
		if err := f.Close(); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = errors.Join(s.err, err)
		}
	})
}

// Network is the network of one step.
type Network struct {
	owner   *Switch
	config  Config
	refusal *refusal
	servers []netip.AddrPort
	device  *device
	link    *link
	stack   *stack.Stack
	proxy   *proxy // nil where there is none

	ctx    context.Context //nolint:containedctx // ends with the network; connections are made in its name
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	open   map[io.Closer]struct{}
	work   sync.WaitGroup // whatever runs for the step
	// sending is how many connections the step may still be sending on; sent is closed, if somebody
	// waits, when there is none any more.
	sending int
	sent    chan struct{}
	flows   chan struct{} // one for each pair of addresses that datagrams go between
	streams chan struct{} // one for each connection
}

// How many pairs of addresses datagrams may go between, and how many connections there may be, at the
// same time. Each needs a descriptor of this process.
const (
	maxFlows   = 1024
	maxStreams = 8192
)

// Connect makes a network. It is closed by the caller, after the last process in it has ended.
func (s *Switch) Connect(config Config) (_ *Network, err error) {
	n := &Network{
		owner:  s,
		config: config, refusal: newRefusal(isLocal), servers: servers(),
		open: map[io.Closer]struct{}{}, flows: make(chan struct{}, maxFlows), streams: make(chan struct{}, maxStreams),
	}
	if config.servers != nil {
		n.servers = config.servers
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if config.Proxy != nil {
		n.proxy = newProxy(n, config.Proxy)
		n.servers = nil
	}
	with6 := hasIP6()
	defer func() {
		if err != nil {
			err = errors.Join(err, n.shut())
		}
	}()
	if n.device, err = s.openDevice(with6, config.Veth, config.AnyPort); err != nil {
		return nil, err
	}
	if n.link, err = newLink(n.device); err != nil {
		return nil, err
	}
	if n.stack, err = newStack(with6, n.accept, n.receive); err != nil {
		return nil, err
	}
	if err := attach(n.stack, n.link, with6); err != nil {
		return nil, err
	}
	return n, nil
}

// openDevice makes the interface a TUN, or, where there is none to be had, one of a pair.
func (s *Switch) openDevice(with6, veth, anyPort bool) (*device, error) {
	var tun error
	if !veth {
		d, err := s.newDevice(with6, false, anyPort)
		if err == nil {
			return d, nil
		}
		if errors.Is(err, errNamespace) {
			return nil, &DeviceError{Err: err, Hint: "allow network namespaces (sysctl user.max_net_namespaces)"}
		}
		tun = err
	}
	d, err := s.newDevice(with6, true, anyPort)
	if err == nil {
		return d, nil
	}
	if tun != nil {
		err = fmt.Errorf("%w; without a TUN: %w", tun, err)
	}
	return nil, &DeviceError{Err: err, Hint: "make /dev/net/tun readable and writable, or load the kernel module veth"}
}

// DeviceError is a machine that lets no network be made. Hint says what would help.
type DeviceError struct {
	Err  error
	Hint string
}

func (e *DeviceError) Error() string { return fmt.Sprintf("make a network for the step: %v", e.Err) }

func (e *DeviceError) Unwrap() error { return e.Err }

// Namespace is the network namespace, for the sandbox. It belongs to the network.
func (n *Network) Namespace() *os.File { return n.device.namespace }

// patience is how long what a step sent before it ended may take to leave.
const patience = time.Second

// Close ends the network. What the step had sent before it ended is sent on, unless ctx ends.
func (n *Network) Close(ctx context.Context) error {
	sent := make(chan struct{})
	n.mu.Lock()
	n.closed, n.sent = true, sent
	if n.sending == 0 {
		close(sent)
		n.sent = nil
	}
	n.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-sent:
	case <-ctx.Done():
	case <-timer.C:
	}
	return n.shut()
}

// startSending announces that the step sends on one more connection, until the function that
// is returned is called.
func (n *Network) startSending() (end func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sending++
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.sending--
		if n.sending == 0 && n.sent != nil {
			close(n.sent)
			n.sent = nil
		}
	}
}

// shut ends all that runs for the step, and waits until it has.
func (n *Network) shut() error {
	n.mu.Lock()
	n.closed = true
	for c := range n.open {
		_ = c.Close() // whoever uses it sees that it is closed
	}
	n.mu.Unlock()
	n.cancel()
	if n.stack != nil {
		n.stack.Close()
	}
	n.work.Wait()
	if n.proxy != nil {
		n.proxy.close()
	}
	var err error
	if n.link != nil {
		err = n.link.stop()
	}
	if n.stack != nil {
		n.stack.Wait()
	}
	if n.device != nil {
		n.owner.close(n.device.file)
		err = errors.Join(err, n.device.namespace.Close())
	}
	return err
}

// begin announces work for the step; ok is false if there is none to be done any more.
func (n *Network) begin() (ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.work.Add(1)
	return true
}

// keep has c closed when the network is; forget is called when that is not needed any more.
func (n *Network) keep(c io.Closer) (forget func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		_ = c.Close()
	}
	n.open[c] = struct{}{}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.open, c)
	}
}

// way is where packets to an address go.
type way int

const (
	nowhere way = iota
	outside
	resolver
	proxied
)

// reach decides what stands for an address that the step uses.
func (n *Network) reach(to netip.AddrPort) (netip.AddrPort, way) {
	if n.proxy == nil {
		return n.find(to)
	}
	switch a := to.Addr().Unmap().String(); {
	case a == proxyHost && to.Port() == proxyPort:
		return to, proxied
	case a == Nameserver && to.Port() == domain:
		return to, resolver // which says at once that it resolves nothing
	}
	return to, nowhere
}

// find decides what stands for an address of the outside.
func (n *Network) find(to netip.AddrPort) (netip.AddrPort, way) {
	a := to.Addr().Unmap()
	switch a.String() {
	case Nameserver:
		if to.Port() == domain {
			return to, resolver
		}
		return to, nowhere
	case Gateway:
		if n.config.HostGateway {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port()), outside
		}
		return to, nowhere
	}
	if n.refusal.refuses(a) {
		return to, nowhere
	}
	return netip.AddrPortFrom(a, to.Port()), outside
}
