package network

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link is the stack's end of a step's interface. The other end is the same machine's
// kernel, so checksums of what arrives are not looked at.
type link struct {
	file  *os.File
	raw   syscall.RawConn
	frame []byte

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
	reading    sync.WaitGroup
}

var _ stack.LinkEndpoint = (*link)(nil)

func newLink(d *device) (*link, error) {
	raw, err := d.file.SyscallConn()
	return &link{file: d.file, raw: raw, frame: d.frame}, err
}

// Ethernet types, the only two that pass.
func etherType(version int) []byte {
	if version == ip6 {
		return []byte{0x86, 0xdd}
	}
	return []byte{0x08, 0x00}
}

// head is how many bytes stand before a packet.
func (l *link) head() int {
	if l.frame == nil {
		return 0
	}
	return len(l.frame) + len(etherType(ip4))
}

// WritePackets implements [stack.LinkWriter].
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	for i, packet := range list.AsSlice() {
		slices := packet.AsSlices()
		if l.frame != nil {
			kind := ip4
			if packet.NetworkProtocolNumber == ipv6.ProtocolNumber {
				kind = ip6
			}
			slices = append([][]byte{l.frame, etherType(kind)}, slices...)
		}
		var failed error
		err := l.raw.Write(func(fd uintptr) bool {
			_, failed = unix.Writev(int(fd), slices)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil {
			return i, &tcpip.ErrClosedForSend{}
		}
		// What the kernel does not take is lost, as packets may be.
	}
	return list.Len(), nil
}

// read delivers what arrives until the link is stopped or the interface is gone.
func (l *link) read(to stack.NetworkDispatcher) {
	buf := make([]byte, mtu+64)
	for {
		n, err := l.file.Read(buf)
		if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EINTR) {
			continue // told once
		}
		if err != nil {
			return
		}
		if n < l.head() {
			continue
		}
		data := buf[l.head():n]
		protocol := ipv4.ProtocolNumber
		switch version(data) {
		case ip4:
		case ip6:
			protocol = ipv6.ProtocolNumber
		default:
			continue
		}
		packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(data)})
		to.DeliverNetworkPacket(protocol, packet)
		packet.DecRef()
	}
}

// stop ends the reading. The file stays open.
func (l *link) stop() error {
	err := l.file.SetDeadline(time.Unix(1, 0))
	l.reading.Wait()
	return err
}

// Attach implements [stack.LinkEndpoint].
func (l *link) Attach(to stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to != nil && l.dispatcher == nil {
		l.reading.Go(func() { l.read(to) })
	}
	l.dispatcher = to
}

// IsAttached implements [stack.LinkEndpoint].
func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}

// Close implements [stack.LinkEndpoint]. Whoever opened the file closes it.
func (l *link) Close() {}

// Wait implements [stack.LinkEndpoint].
func (l *link) Wait() { l.reading.Wait() }

// MTU implements [stack.LinkEndpoint].
func (l *link) MTU() uint32 { return mtu }

// Capabilities implements [stack.LinkEndpoint].
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// What follows implements the rest of [stack.LinkEndpoint], for a link that has nothing of it.

func (l *link) SetMTU(uint32)                           {}
func (l *link) MaxHeaderLength() uint16                 { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress          { return "" }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (l *link) AddHeader(*stack.PacketBuffer)           {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) SetOnCloseAction(func())                 {}
