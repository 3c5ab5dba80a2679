package container

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"builder/executor/network"
	"builder/executor/sandbox"
)

// The networks that a container can have. One that was made when there was only the host's has no word for it.
const (
	NetworkBridge = "bridge" // one of its own, which leads to the outside
	NetworkNone   = "none"
	NetworkHost   = "host"
)

// NetworkMode is which of them the container has.
func (c *Config) NetworkMode() string { return or(c.Network, NetworkHost) }

// Port is a port of a container, and where the machine publishes it.
type Port struct {
	Container uint16
	Protocol  string // tcp or udp
	// IP is the machine's address, all of them if empty. Host is the port there; 0 is one that is free.
	IP   string `json:",omitempty"`
	Host uint16
}

// Name is the port as the image's config names it.
func (p Port) Name() string { return strconv.Itoa(int(p.Container)) + "/" + p.Protocol }

// wire gives the container its network, and publishes its ports. close ends it when the command has ended.
func (r *running) wire(ctx context.Context, s *sandbox.Spec) (close func() error, err error) {
	nothing := func() error { return nil }
	gateway := "127.0.0.1"
	switch r.config.NetworkMode() {
	case NetworkNone:
		s.Network = sandbox.NoNetwork
	case NetworkBridge:
		gateway = network.Gateway
		if close, err = r.ownNetwork(ctx, s); err != nil {
			return close, err
		}
		nothing = close
	}
	r.network = s.Network
	for i := range s.Hosts {
		if s.Hosts[i].IP == HostGateway {
			s.Hosts[i].IP = gateway
		}
	}
	return nothing, nil
}

func (r *running) ownNetwork(ctx context.Context, s *sandbox.Spec) (func() error, error) {
	config := network.Config{AnyPort: true}
	for _, h := range s.Hosts {
		config.HostGateway = config.HostGateway || h.IP == HostGateway
	}
	var all network.Switch
	n, err := all.Connect(config)
	if err != nil {
		return all.Close, explain(err)
	}
	close := func() error { return errors.Join(n.Close(context.WithoutCancel(ctx)), all.Close()) }
	s.Network, s.NetworkNamespace, s.Nameserver, s.Address = sandbox.OwnNetwork, n.Namespace(), network.Nameserver, network.Address
	for _, p := range r.config.Ports {
		published, err := publish(n, p)
		if err != nil {
			return close, err
		}
		r.ports = append(r.ports, published...)
	}
	return close, nil
}

// explain says what to do where no network can be made.
func explain(err error) error {
	if device := (*network.DeviceError)(nil); errors.As(err, &device) {
		return fmt.Errorf("%w: %s, or run with --network host or --network none", err, device.Hint)
	}
	return err
}

// publish publishes a port at one address of the machine, or at all of IPv4 and of IPv6.
func publish(n *network.Network, p Port) ([]Port, error) {
	ips := []string{"0.0.0.0", "::"}
	if p.IP != "" {
		ips = []string{p.IP}
	}
	var list []Port
	anyPort := p.Host == 0
	for i, text := range ips {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return nil, err
		}
		at, err := n.Publish(netip.AddrPortFrom(ip, p.Host), p.Protocol, p.Container)
		if i > 0 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EPROTONOSUPPORT)) {
			continue // a machine without IPv6
		}
		if i > 0 && anyPort && errors.Is(err, unix.EADDRINUSE) {
			continue // the port that is free with IPv4 is not with IPv6
		}
		if err != nil {
			return nil, err
		}
		p.IP, p.Host = ip.String(), at.Port()
		list = append(list, p)
	}
	return list, nil
}
