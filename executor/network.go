package executor

import (
	"context"

	"builder/executor/network"
	"builder/executor/sandbox"
	"builder/internal/diag"
	"builder/planner"
)

// wire is a step's own network, if it has one: made beside what else comes before its process.
type wire struct {
	made    chan struct{} // closed when it is there, or cannot be had
	network *network.Network
	err     error
	// authority and ended are those of a proxied network, ended after it was closed.
	authority *network.Authority
	ended     *network.Network
}

// wire begins to make the step's network. It is closed by the caller.
func (r *run) wire(op planner.Exec) *wire {
	w := &wire{made: make(chan struct{})}
	if op.Network != planner.NetworkDefault && !op.Proxied {
		close(w.made)
		return w
	}
	go func() {
		defer close(w.made)
		config := network.Config{HostGateway: wantsGateway(op.Hosts)}
		if op.Proxied {
			if w.authority, w.err = r.proxy(&config, op); w.err != nil {
				return
			}
		}
		w.network, w.err = r.network.Connect(config)
	}()
	return w
}

// close ends the network; nothing is in it any more.
func (w *wire) close(ctx context.Context) error {
	<-w.made
	if w.network == nil {
		return nil
	}
	n := w.network
	w.network, w.ended = nil, n
	return n.Close(ctx)
}

// connect writes the step's network into spec.
func (w *wire) connect(spec *sandbox.Spec, op planner.Exec) error {
	gateway := gatewayOf(op)
	switch {
	case op.Network == planner.NetworkNone:
		spec.Network = sandbox.NoNetwork
	case op.Network == planner.NetworkHost && !op.Proxied:
		spec.Network = sandbox.HostNetwork
	default:
		<-w.made
		if w.err != nil {
			return w.err
		}
		spec.Network, spec.NetworkNamespace, spec.Nameserver = sandbox.OwnNetwork, w.network.Namespace(), network.Nameserver
	}
	spec.Hosts = hosts(op.Hosts, gateway)
	if op.Proxied {
		throughProxy(spec, w.authority)
	}
	return nil
}

// gatewayOf is the machine's address for a step.
func gatewayOf(op planner.Exec) string {
	if op.Network == planner.NetworkHost {
		return "127.0.0.1"
	}
	return network.Gateway
}

// noNetwork says what to do where the machine lets no network be made. That of the machine is
// never given instead of it.
func noNetwork(w *work, err *network.DeviceError) error {
	e := diag.Errorf(w.step.Span, "%v", err)
	e.Err = err
	return e.WithHint("%s, or build with --network=host or --network=none", err.Hint)
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
