// Package network gives a step a network of its own that leads to the outside.
//
// The step has a network namespace with one interface. What leaves by it is read by this
// process, in which a TCP/IP stack ends the step's connections and makes each anew with a socket of
// the machine: no program, no address and no rule of the machine's firewall is needed, and no right
// but that to make the namespace. So it works for a plain user's user namespace as for root.
//
// What the step reaches is what the machine reaches by way of a router. The machine itself
// is not there: neither its loopback nor any other address that it delivers to itself,
// and nothing that is meant for one link (link-local and multicast addresses, the
// metadata services of clouds). A connection is accepted when the one that stands for it is, so refused means
// refused. Names are resolved by the machine's own servers, which answer at [Nameserver].
// With [Config.HostGateway] the machine's loopback answers at [Gateway].
//
// Nothing reaches the step, unless a port of it is published ([Network.Publish]): then what arrives at an
// address of the machine goes there.
//
// When [Network.Close] returns nothing is left: no goroutine, descriptor or interface; the
// namespace goes with the last process in it. Networks are never used again.
package network
