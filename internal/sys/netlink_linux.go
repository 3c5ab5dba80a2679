package sys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Route is a socket that talks to the kernel about the network of the thread that opened
// it: rtnetlink(7). It is used by one goroutine at a time.
type Route struct {
	fd  int
	seq uint32
	buf []byte
}

// OpenRoute opens a socket for the calling thread's network namespace.
func OpenRoute() (*Route, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("netlink socket", err)
	}
	return &Route{fd: fd, buf: make([]byte, 16<<10)}, nil
}

// Close closes the socket.
func (r *Route) Close() error { return os.NewSyscallError("close netlink socket", unix.Close(r.fd)) }

// RouteMessage is a request to the kernel, or a part of one: a fixed header and attributes.
type RouteMessage []byte

// Attribute adds an attribute: its type and its value.
func (m RouteMessage) Attribute(kind uint16, value []byte) RouteMessage {
	m = binary.NativeEndian.AppendUint16(m, uint16(unix.SizeofRtAttr+len(value)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = append(m, value...)
	for len(m)%unix.NLMSG_ALIGNTO != 0 {
		m = append(m, 0)
	}
	return m
}

// Request sends m as a message of the type and returns the body of the answer: nothing if the
// kernel only says that it was done. An error is what the kernel answers, a [unix.Errno].
func (r *Route) Request(kind uint16, flags uint16, m RouteMessage) ([]byte, error) {
	r.seq++
	head := unix.NlMsghdr{
		Len: uint32(unix.SizeofNlMsghdr + len(m)), Type: kind, Flags: flags | unix.NLM_F_REQUEST, Seq: r.seq,
	}
	packet := append(unsafe.Slice((*byte)(unsafe.Pointer(&head)), unix.SizeofNlMsghdr), m...)
	err := retry(func() error { return unix.Sendto(r.fd, packet, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) })
	if err != nil {
		return nil, os.NewSyscallError("netlink send", err)
	}
	for {
		n := 0
		err := retry(func() (err error) {
			n, _, err = unix.Recvfrom(r.fd, r.buf, 0)
			return err
		})
		if err != nil {
			return nil, os.NewSyscallError("netlink receive", err)
		}
		body, mine, err := parseAnswer(r.buf[:n], r.seq)
		if mine {
			return body, err
		}
	}
}

// parseAnswer takes an answer of the kernel's apart; mine is false if it answers another
// request.
func parseAnswer(b []byte, seq uint32) (body []byte, mine bool, err error) {
	if len(b) < unix.SizeofNlMsghdr {
		return nil, true, errors.New("netlink: short answer")
	}
	length := int(binary.NativeEndian.Uint32(b))
	kind, answers := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:])
	if length < unix.SizeofNlMsghdr || length > len(b) {
		return nil, true, fmt.Errorf("netlink: answer of %d bytes in %d", length, len(b))
	}
	if answers != seq {
		return nil, false, nil
	}
	body = b[unix.SizeofNlMsghdr:length]
	if kind != unix.NLMSG_ERROR {
		return body, true, nil
	}
	if len(body) < 4 {
		return nil, true, errors.New("netlink: short error")
	}
	if errno := int32(binary.NativeEndian.Uint32(body)); errno != 0 {
		return nil, true, unix.Errno(-errno)
	}
	return nil, true, nil
}

// Index is the number of the interface called name.
func (r *Route) Index(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(r.fd, unix.SIOCGIFINDEX, request)
	}
	if err != nil {
		return 0, &os.PathError{Op: "find interface", Path: name, Err: err}
	}
	return int(request.Uint32()), nil
}
