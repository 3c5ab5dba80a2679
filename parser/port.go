package parser

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// PortHint is the remedy for what [ParsePort] refuses.
const PortHint = "write port[-port][/tcp|udp|sctp], for example 8080 or 53/udp"

const maxPort = 65535

// ParsePort returns the ports of [[address:]host port:]port[-port][/protocol] as
// port/protocol. What stands in front of the last colon is checked and means
// nothing, as in BuildKit.
func ParsePort(text string) ([]string, error) {
	address, host, port := splitPort(text)
	port, protocol, _ := strings.Cut(port, "/")
	switch {
	case port == "":
		return nil, fmt.Errorf("invalid port: %q: no port specified", text)
	case protocol == "":
		protocol = "tcp"
	}
	protocol = strings.ToLower(protocol)
	if protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
		return nil, fmt.Errorf("invalid port: %q: invalid proto: %s", text, protocol)
	}
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	first, last, err := portRange(port)
	if err != nil {
		return nil, fmt.Errorf("invalid containerPort: %s", port)
	}
	if host != "" {
		from, to, err := portRange(host)
		if err != nil {
			return nil, fmt.Errorf("invalid hostPort: %s", host)
		}
		if last-first != to-from && last != first {
			return nil, fmt.Errorf("invalid ranges specified for container and host Ports: %s and %s", port, host)
		}
	}
	ports := make([]string, 0, last-first+1)
	for n := first; n <= last; n++ {
		ports = append(ports, strconv.Itoa(n)+"/"+protocol)
	}
	return ports, nil
}

// PortStyle says of what [ParsePort] takes whether its protocol has capitals and
// whether something stands in front of the port that means nothing.
func PortStyle(text string) (capitals, mapped bool) {
	address, host, port := splitPort(text)
	_, protocol, _ := strings.Cut(port, "/")
	return protocol != strings.ToLower(protocol), address != "" || host != ""
}

func splitPort(text string) (address, host, port string) {
	parts := strings.Split(text, ":")
	n := len(parts)
	if n > 1 {
		host = parts[n-2]
	}
	if n > 2 {
		address = strings.Join(parts[:n-2], ":")
	}
	return address, host, parts[n-1]
}

func checkAddress(address string) error {
	if strings.HasPrefix(address, "[") {
		bare, _, err := net.SplitHostPort(address + ":")
		if err != nil {
			return fmt.Errorf("invalid IP address %v: %w", address, err)
		}
		address = bare
	}
	if address != "" && net.ParseIP(address) == nil {
		return fmt.Errorf("invalid IP address: %s", address)
	}
	return nil
}

func portRange(text string) (first, last int, err error) {
	from, to, isRange := strings.Cut(text, "-")
	if first, err = portNumber(from); err != nil {
		return 0, 0, err
	}
	if !isRange || from == to {
		return first, first, nil
	}
	if last, err = portNumber(to); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("invalid port range: %s", text)
	}
	return first, last, nil
}

func portNumber(text string) (int, error) {
	n, err := strconv.ParseInt(text, 10, 0)
	if err != nil {
		return 0, err
	}
	if n < 0 || n > maxPort {
		return 0, fmt.Errorf("port %d is out of range", n)
	}
	return int(n), nil
}
