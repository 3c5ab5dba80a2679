package cli

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"builder/internal/container"
	"builder/parser"
)

// networkFlags are the flags of run and create about the network, as they were typed.
type networkFlags struct {
	network         string
	publish, expose []string
	all             bool
}

func (f *networkFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.network, "network", "default", "network of the container: default (one of its own), none or host")
	fl.StringVar(&f.network, "net", "default", "the same as --network")
	fl.Lookup("net").Hidden = true
	fl.StringArrayVarP(&f.publish, "publish", "p", nil, "publish a port, as [[IP:]HOST:]PORT[/tcp|udp]; ranges too")
	fl.BoolVarP(&f.all, "publish-all", "P", false, "publish all ports that the image or --expose names, at ports that are free")
	fl.StringArrayVar(&f.expose, "expose", nil, "name a port, or a range, that the container listens at")
}

// parse writes the flags into a container's config, whose Run is the image's.
func (f *networkFlags) parse(c *container.Config, warnings io.Writer) error {
	switch f.network {
	case "default", container.NetworkBridge:
		c.Network = container.NetworkBridge
	case container.NetworkNone, container.NetworkHost:
		c.Network = f.network
	default:
		e := usage("--network: %q is not there", f.network)
		if strings.HasPrefix(f.network, "container:") {
			return e.WithHint("builder exec runs one more command in the network of a container")
		}
		return e.WithHint("networks have no names of their own: default, none and host are there")
	}
	exposed := maps.Clone(c.Run.ExposedPorts)
	if exposed == nil {
		exposed = map[string]struct{}{}
	}
	for _, text := range f.expose {
		ports, err := parser.ParsePort(text)
		if err != nil || strings.Contains(text, ":") {
			return usage("--expose: %q is no port", text).WithHint(parser.PortHint)
		}
		for _, p := range ports {
			exposed[p] = struct{}{}
		}
	}
	published, err := f.published(exposed)
	if err != nil {
		return err
	}
	if len(exposed) > 0 {
		c.Run.ExposedPorts = exposed
	}
	switch {
	case len(f.publish) == 0 && !f.all:
	case c.Network == container.NetworkHost:
		fmt.Fprintln(warnings, "WARNING: Published ports are discarded when using host network mode")
		return nil
	case c.Network == container.NetworkNone:
		return usage("-p: a container without a network has no ports to publish").WithHint("leave --network none out")
	}
	c.Ports = published
	return nil
}

// published are the ports of the flags. They are exposed, too.
func (f *networkFlags) published(exposed map[string]struct{}) ([]container.Port, error) {
	var list []container.Port
	for _, text := range f.publish {
		ports, err := parsePublish(text)
		if err != nil {
			return nil, err
		}
		for _, p := range ports {
			exposed[p.Name()] = struct{}{}
		}
		list = append(list, ports...)
	}
	if !f.all {
		return list, nil
	}
	for _, name := range slices.Sorted(maps.Keys(exposed)) {
		if slices.ContainsFunc(list, func(p container.Port) bool { return p.Name() == name }) {
			continue
		}
		ports, err := parsePublish(name)
		if err != nil {
			return nil, err
		}
		list = append(list, ports...)
	}
	return list, nil
}

// parsePublish reads [[IP:]HOST:]PORT[/PROTOCOL], each port perhaps a range, or
// published=HOST,target=PORT,protocol=PROTOCOL.
func parsePublish(text string) ([]container.Port, error) {
	fault := func(why string) error {
		return usage("-p: %q: %s", text, why).WithHint("write -p 8080:80, -p 127.0.0.1:8080:80/tcp, or -p 80 for a port that is free")
	}
	short, ok := shortPublish(text)
	if !ok {
		return nil, fault("it is no port")
	}
	if _, err := parser.ParsePort(short); err != nil {
		return nil, fault(err.Error())
	}
	rest, protocol, _ := strings.Cut(short, "/")
	protocol = strings.ToLower(cmp.Or(protocol, "tcp"))
	if protocol == "sctp" {
		return nil, fault("sctp cannot be published")
	}
	host, ip := "", ""
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		host, rest = rest[:i], rest[i+1:]
		if i := strings.LastIndexByte(host, ':'); i >= 0 {
			ip, host = strings.Trim(host[:i], "[]"), host[i+1:]
		}
	}
	if ip != "" {
		if _, err := netip.ParseAddr(ip); err != nil {
			return nil, fault(fmt.Sprintf("%q is not an address", ip))
		}
	}
	first, last := ends(rest)
	if first == 0 {
		return nil, fault("0 is no port of a container")
	}
	from, to := ends(host)
	if host != "" && to-from != last-first {
		return nil, fault("the two ranges have not the same length")
	}
	var list []container.Port
	for n := first; n <= last; n++ {
		p := container.Port{Container: uint16(n), Protocol: protocol, IP: ip}
		if host != "" {
			p.Host = uint16(from + n - first)
		}
		list = append(list, p)
	}
	return list, nil
}

// shortPublish makes the short form of the long one.
func shortPublish(text string) (string, bool) {
	if !strings.Contains(text, "=") {
		return text, true
	}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return "", false
	}
	var host, port, protocol string
	for _, field := range fields {
		switch key, value, _ := strings.Cut(field, "="); key {
		case "published":
			host = value + ":"
		case "target":
			port = value
		case "protocol":
			protocol = "/" + value
		default:
			return "", false
		}
	}
	return host + port + protocol, port != ""
}

// ends are the first and the last number of a range that [parser.ParsePort] takes.
func ends(text string) (first, last int) {
	from, to, ranged := strings.Cut(text, "-")
	first, _ = strconv.Atoi(from)
	last = first
	if ranged {
		last, _ = strconv.Atoi(to)
	}
	return first, last
}

// portsText is the column PORTS: what is published, and what is only named.
func portsText(c *container.Container) string {
	if c.Status != container.Running || c.NetworkMode() != container.NetworkBridge {
		return ""
	}
	var words []string
	for _, p := range sortedPorts(c.Published) {
		words = append(words, address(p)+"->"+p.Name())
	}
	for _, name := range slices.Sorted(maps.Keys(c.Run.ExposedPorts)) {
		if !slices.ContainsFunc(c.Published, func(p container.Port) bool { return p.Name() == name }) {
			words = append(words, name)
		}
	}
	return strings.Join(words, ", ")
}

func sortedPorts(list []container.Port) []container.Port {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b container.Port) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Protocol, b.Protocol))
	})
	return list
}

// address is where the machine listens for a port.
func address(p container.Port) string {
	ip, err := netip.ParseAddr(p.IP)
	if err != nil {
		return p.IP
	}
	return netip.AddrPortFrom(ip, p.Host).String()
}
