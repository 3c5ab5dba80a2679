package network

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// packet4 is a packet from the step.
func packet4(protocol byte, to [4]byte, payload []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 2, 100, to[0], to[1], to[2], to[3]}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(payload)))
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, payload...)
}

// echo asks the gateway for an answer.
func echo() []byte {
	icmp := []byte{8, 0, 0, 0, 0x12, 0x34, 0, 1}
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	return packet4(1, [4]byte{10, 0, 2, 2}, icmp)
}

// FuzzStack sends whatever a step may send: the stack goes on answering.
func FuzzStack(f *testing.F) {
	syn := []byte{0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0}
	for _, p := range [][]byte{
		packet4(6, [4]byte{198, 51, 100, 2}, syn), packet4(17, [4]byte{198, 51, 100, 2}, []byte{0x30, 0x39, 0, 53, 0, 9, 0, 0, 'x'}), echo(),
		{0x60, 0, 0, 0, 0, 0, 6, 64},
	} {
		f.Add(append([]byte{byte(len(p))}, p...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		must(t, err)
		ours, theirs := os.NewFile(uintptr(fds[0]), "stack"), os.NewFile(uintptr(fds[1]), "step")
		defer ours.Close()
		defer theirs.Close()
		s, err := newStack(true, func(r *tcp.ForwarderRequest) { r.Complete(true) }, func(*udp.ForwarderRequest) bool { return false })
		must(t, err)
		l, err := newLink(&device{file: ours})
		must(t, err)
		must(t, attach(s, l, true))
		for len(data) > 1 {
			size := min(int(data[0]), len(data)-1)
			if size > 0 { // an interface sends no empty packets
				if _, err := theirs.Write(data[1 : 1+size]); err != nil {
					t.Fatal(err)
				}
			}
			data = data[1+size:]
		}
		_, err = theirs.Write(echo())
		must(t, err)
		must(t, theirs.SetReadDeadline(time.Now().Add(10*time.Second)))
		for b := make([]byte, mtu); ; {
			n, err := theirs.Read(b)
			if err != nil {
				t.Fatalf("no answer any more: %v", err)
			}
			if n == 28 && b[9] == 1 && b[20] == 0 && b[24] == 0x12 && b[25] == 0x34 {
				break
			}
		}
		s.Close()
		must(t, l.stop())
		s.Wait()
	})
}
