package executor

import (
	"context"
	"errors"

	"builder/executor/network"
	"builder/executor/sandbox"
	"builder/internal/diag"
	"builder/planner"
)

// onNetwork calls run when the step's network is there and spec leads to it.
func (r *run) onNetwork(ctx context.Context, w *work, op planner.Exec, spec *sandbox.Spec, run func() error) (err error) {
	gateway := network.Gateway
	switch op.Network {
	case planner.NetworkNone:
		spec.Network = sandbox.NoNetwork
	case planner.NetworkHost:
		spec.Network, gateway = sandbox.HostNetwork, "127.0.0.1"
	case planner.NetworkDefault:
		own, err := r.network.Connect(network.Config{HostGateway: wantsGateway(op.Hosts)})
		if failed := (*network.DeviceError)(nil); errors.As(err, &failed) {
			return noNetwork(w, failed)
		}
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, own.Close(ctx)) }()
		spec.Network, spec.NetworkNamespace, spec.Nameserver = sandbox.OwnNetwork, own.Namespace(), network.Nameserver
	}
	spec.Hosts = hosts(op.Hosts, gateway)
	return run()
}

// noNetwork says what to do where the machine lets no network be made. That of the machine is
// never given instead of it.
func noNetwork(w *work, err error) error {
	e := diag.Errorf(w.step.Span, "%v", err)
	e.Err = err
	return e.WithHint("make /dev/net/tun readable and writable, load the kernel module veth, or build with --network=host or --network=none")
}

// wantsGateway reports whether a name stands for the machine.
func wantsGateway(list []planner.Host) bool {
	for _, h := range list {
		if h.IP == planner.HostGateway {
			return true
		}
	}
	return false
}

// hosts are the lines of /etc/hosts; gateway is the machine's address for the step.
func hosts(list []planner.Host, gateway string) []sandbox.Host {
	var out []sandbox.Host
	for _, h := range list {
		ip := h.IP
		if ip == planner.HostGateway {
			ip = gateway
		}
		out = append(out, sandbox.Host{Name: h.Name, IP: ip})
	}
	return out
}
