package sandbox

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
)

func (b *builder) hostname() string {
	if b.spec.Hostname != "" {
		return b.spec.Hostname
	}
	return DefaultHostname
}

// names are what /etc/hosts calls the machine.
func (b *builder) names() string {
	if b.spec.Domainname != "" {
		return b.hostname() + "." + b.spec.Domainname + " " + b.hostname()
	}
	return b.hostname()
}

// hostsFile is /etc/hosts as BuildKit writes it.
func hostsFile(hostname, address string, hosts []Host) []byte {
	var b bytes.Buffer
	loopback := "localhost " + hostname
	if address != "" {
		loopback = "localhost"
		hosts = append([]Host{{hostname, address}}, hosts...)
	}
	fmt.Fprintf(&b, "127.0.0.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\n", loopback)
	for _, h := range hosts {
		fmt.Fprintf(&b, "%s\t%s\n", h.IP, h.Name)
	}
	return b.Bytes()
}

// resolvConfOnce returns a function that reads the machine's resolv.conf once
// and makes a step's of it.
func resolvConfOnce() func(*Spec) []byte {
	host := sync.OnceValue(func() []byte {
		b, err := os.ReadFile("/etc/resolv.conf")
		if err != nil {
			return nil // without one the defaults below apply
		}
		return b
	})
	return func(s *Spec) []byte { return resolvConf(host(), s) }
}

// resolvConf is a step's /etc/resolv.conf as BuildKit makes it of the machine's:
// without comments; with the one server of a network of its own; without a network, without servers that
// listen on loopback; with public servers where none is left.
func resolvConf(host []byte, s *Spec) []byte {
	var servers, rest []string
	search, options := "", ""
	for _, line := range strings.Split(string(host), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.ContainsAny(fields[0][:1], "#;") {
			continue
		}
		switch key := fields[0]; {
		case key == "nameserver" && len(fields) > 1:
			addr, err := netip.ParseAddr(fields[1])
			if err == nil && (s.Network == HostNetwork || s.Network == NoNetwork && !addr.IsLoopback()) {
				servers = append(servers, "nameserver "+addr.String())
			}
		case key == "domain" || key == "search":
			search = "search " + strings.Join(fields[1:], " ")
		case key == "options":
			options = strings.TrimSpace("options " + strings.TrimPrefix(options, "options ") + " " + strings.Join(fields[1:], " "))
		default:
			rest = append(rest, strings.Join(fields, " "))
		}
	}
	if s.Network == OwnNetwork {
		servers = []string{"nameserver " + s.Nameserver}
	}
	if len(s.DNS.Servers) > 0 {
		servers = nil
		for _, addr := range s.DNS.Servers {
			servers = append(servers, "nameserver "+addr)
		}
	}
	if len(s.DNS.Search) > 0 {
		search = "search " + strings.Join(s.DNS.Search, " ")
	}
	if len(s.DNS.Options) > 0 {
		options = "options " + strings.Join(s.DNS.Options, " ")
	}
	if len(servers) == 0 {
		for _, addr := range []string{"8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"} {
			servers = append(servers, "nameserver "+addr)
		}
	}
	lines := servers
	if len(search) > len("search ") {
		lines = append(lines, search)
	}
	if options != "" {
		lines = append(lines, strings.Join(strings.Fields(options), " "))
	}
	return []byte(strings.Join(append(lines, rest...), "\n") + "\n")
}
