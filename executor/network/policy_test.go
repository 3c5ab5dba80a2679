package network

import (
	"net/netip"
	"testing"
)

// mayBeReached is the policy where the machine has no address of its own.
func mayBeReached(a netip.Addr) bool {
	return !newRefusal(func(netip.Addr) bool { return false }).refuses(a)
}

func TestWhatIsNotTheOutsideIsRefused(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": true, "10.0.0.1": true, "192.168.1.1": true, "172.17.0.1": true, "100.64.0.1": true,
		"2001:4860:4860::8888": true, "fd00::1": true, "64:ff9b::808:808": true, "::ffff:8.8.8.8": true, "2002:808:808::1": true,

		"127.0.0.1": false, "127.255.255.254": false, "0.0.0.0": false, "0.1.2.3": false, "169.254.169.254": false, "169.254.1.1": false,
		"224.0.0.1": false, "239.1.1.1": false, "255.255.255.255": false, "100.100.100.200": false, "168.63.129.16": false,
		"192.0.0.192": false, "10.0.2.15": false,
		"::": false, "::1": false, "::7f00:1": false, "::ffff:127.0.0.1": false, "::ffff:0:127.0.0.1": false, "64:ff9b::7f00:1": false,
		"64:ff9b::a9fe:a9fe": false, "2002:7f00:1::1": false, "fe80::1": false, "fe80::1%eth0": false, "ff02::1": false,
		"fd00:ec2::254": false, "fd20:ce::254": false, "fd17:625c:f037:2::3": false,
	} {
		if got := mayBeReached(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if mayBeReached(netip.Addr{}) {
		t.Error("no address may be reached")
	}
}

func TestLocalAddressesAreRefusedInEverySpelling(t *testing.T) {
	mine := netip.MustParseAddr("198.51.100.1")
	r := newRefusal(func(a netip.Addr) bool { return a == mine })
	for _, address := range []string{"198.51.100.1", "::ffff:198.51.100.1", "64:ff9b::c633:6401", "2002:c633:6401::5", "::c633:6401"} {
		if !r.refuses(netip.MustParseAddr(address)) {
			t.Errorf("%s may be reached", address)
		}
	}
	if r.refuses(netip.MustParseAddr("198.51.100.2")) {
		t.Error("the neighbour is refused")
	}
}

func FuzzPolicy(f *testing.F) {
	for _, a := range []string{"127.0.0.1", "8.8.8.8", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1"} {
		f.Add(netip.MustParseAddr(a).AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok || !mayBeReached(a) {
			return
		}
		if a = a.Unmap(); a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() {
			t.Errorf("%v may be reached", a)
		}
	})
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 2, 100, 10, 0, 2, 2, 8, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 2, 100, 8, 8, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0x60})
	f.Fuzz(func(t *testing.T, packet []byte) {
		switch version(packet) {
		case 0:
		case ip4:
			if packet[9] == 1 && !own(packet[16:20]) {
				t.Error("ICMP to a stranger passes")
			}
		case ip6:
			if packet[6] == 58 && !own(packet[24:40]) {
				t.Error("ICMP to a stranger passes")
			}
		default:
			t.Error("there is no such version")
		}
	})
}

func FuzzFailure(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, question []byte) {
		answer := failure(question)
		if answer == nil {
			return
		}
		if len(answer) != len(question) || answer[0] != question[0] || answer[1] != question[1] || answer[2]&0x80 == 0 || answer[3]&15 != 2 {
			t.Errorf("%x is answered by %x", question, answer)
		}
	})
}

func TestServersAreThoseOfTheFile(t *testing.T) {
	got := parseServers("# nameserver 1.1.1.1\nsearch x\nnameserver 127.0.0.53\nnameserver  fe80::1%eth0 \nnameserver bad\n nameserver 9.9.9.9\n")
	want := []string{"127.0.0.53:53", "[fe80::1%eth0]:53", "9.9.9.9:53"}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range got {
		if got[i].String() != want[i] {
			t.Errorf("%v, want %v", got[i], want[i])
		}
	}
	if list := parseServers("search x\n"); len(list) != 2 || list[0].String() != "8.8.8.8:53" {
		t.Errorf("without servers: %v", list)
	}
}
