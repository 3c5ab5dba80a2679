package network

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// The tests run in a network of their own: the process's namespace is "the machine", with the address
// machineIP, and one wire leads to "the outside", a namespace with the address outsideIP.
const (
	machineIP  = "198.51.100.1"
	outsideIP  = "198.51.100.2"
	machineIP6 = "2001:db8::1"
	outsideIP6 = "2001:db8::2"
	labEnv     = "NETWORK_TEST_LAB"
)

// inLab runs the test once more as root, or "root", of a machine of its own.
func inLab(t *testing.T) (inside bool) {
	t.Helper()
	if os.Getenv(labEnv) != "" {
		return true
	}
	c := exec.Command("/proc/self/exe", "-test.v", "-test.run=^"+t.Name()+"$")
	c.Env = append(os.Environ(), labEnv+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := c.CombinedOutput()
	if c.Process == nil {
		t.Skipf("no namespaces: %v", err)
	}
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	return false
}

// buildLab wires the machine, and returns the outside.
func buildLab(t *testing.T) (outsideNS *os.File) {
	t.Helper()
	var err error
	onOwnThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			outsideNS, err = os.Open("/proc/thread-self/ns/net")
		}
	})
	must(t, err)
	t.Cleanup(func() { outsideNS.Close() })
	r, err := sys.OpenRoute()
	must(t, err)
	defer r.Close()
	name := func(s string) []byte { return append([]byte(s), 0) }
	ns := binary.NativeEndian.AppendUint32(nil, uint32(outsideNS.Fd()))
	peer := linkMessage(0, 0, 0).Attribute(unix.IFLA_IFNAME, name("wire")).Attribute(unix.IFLA_NET_NS_FD, ns)
	info := sys.RouteMessage{}.Attribute(unix.IFLA_INFO_KIND, []byte("veth")).
		Attribute(unix.IFLA_INFO_DATA, sys.RouteMessage{}.Attribute(vethInfoPeer, peer))
	_, err = r.Request(unix.RTM_NEWLINK, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		linkMessage(0, 0, 0).Attribute(unix.IFLA_IFNAME, name("wire")).Attribute(unix.IFLA_LINKINFO, info))
	must(t, err)
	must(t, errors.Join(wire(r, machineIP, outsideIP), wire(r, machineIP6, outsideIP6)))
	within(t, outsideNS, func() {
		r, err := sys.OpenRoute()
		must(t, err)
		defer r.Close()
		must(t, errors.Join(wire(r, outsideIP, machineIP), wire(r, outsideIP6, machineIP6)))
	})
	return outsideNS
}

// wire brings the wire up at one end.
func wire(r *sys.Route, address, gateway string) error {
	index, err := r.Index("wire")
	if err == nil {
		err = errors.Join(up(r, 1, 0), up(r, index, 0))
	}
	if err == nil {
		a, bits := netip.MustParseAddr(address), 24
		if a.Is6() {
			bits = 64
		}
		err = addAddress(r, index, a, bits, netip.MustParseAddr(gateway))
	}
	return err
}

// onOwnThread calls f on a thread that ends afterwards. These tests start no steps.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the main thread cannot end
			defer runtime.UnlockOSThread()
			onOwnThread(f)
		} else {
			f()
		}
		close(done)
	}()
	<-done
}

// within calls f on a thread in a network namespace.
func within(t testing.TB, ns *os.File, f func()) {
	t.Helper()
	onOwnThread(func() {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		f()
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve answers each connection to an address.
func serve(t *testing.T, ns *os.File, address string, answer func(net.Conn)) (port int) {
	t.Helper()
	listen := func() {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
		port = l.Addr().(*net.TCPAddr).Port
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					answer(c)
				}()
			}
		}()
	}
	if ns == nil {
		listen()
	} else {
		within(t, ns, listen)
	}
	return port
}

func hello(c net.Conn) { _, _ = io.WriteString(c, "hello") }

// get reads what a server says to a step.
func get(t *testing.T, n *Network, address string, port int) (said string, err error) {
	t.Helper()
	within(t, n.Namespace(), func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", net.JoinHostPort(address, fmt.Sprint(port)), 5*time.Second); err != nil {
			return
		}
		defer c.Close()
		var b []byte
		b, err = io.ReadAll(c)
		said = string(b)
	})
	return said, err
}

// eachKind calls f with a network with each kind of interface that there is, and after when
// it is closed.
func eachKind(t *testing.T, config Config, f func(t *testing.T, n *Network), after ...func(t *testing.T)) {
	t.Helper()
	for name, veth := range map[string]bool{"tun": false, "veth": true} {
		t.Run(name, func(t *testing.T) {
			if !veth {
				f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
				if err != nil {
					t.Skipf("no TUN: %v", err)
				}
				f.Close()
			}
			config.Veth = veth
			var s Switch
			n, err := s.Connect(config)
			must(t, err)
			f(t, n)
			if !n.closed {
				must(t, n.Close(t.Context()))
			}
			must(t, s.Close())
			for _, f := range after {
				f(t)
			}
			// Where its thread cannot go home it waits for the end of the process.
			if b := strings.ReplaceAll(stacks(), "network.(*thread).", ""); strings.Contains(b, "gvisor.dev") || strings.Contains(b, "network.(*") {
				t.Errorf("something still runs:\n%s", b)
			}
		})
	}
}

// stacks are the goroutines other than this one.
func stacks() string {
	b := make([]byte, 1<<20)
	_, others, _ := bytes.Cut(b[:runtime.Stack(b, true)], []byte("\n\n"))
	return string(others)
}

func TestOutsideIsReachedAndTheMachineIsNot(t *testing.T) {
	if !inLab(t) {
		return
	}
	out := buildLab(t)
	there := serve(t, out, outsideIP+":0", hello)
	here := serve(t, nil, "0.0.0.0:0", hello)
	eachKind(t, Config{}, func(t *testing.T, n *Network) {
		if said, err := get(t, n, outsideIP, there); said != "hello" {
			t.Errorf("outside: %q, %v", said, err)
		}
		for _, address := range []string{"127.0.0.1", machineIP, Gateway, Nameserver, "169.254.169.254", "10.0.2.77"} {
			began := time.Now()
			if said, err := get(t, n, address, here); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: %q, %v", address, said, err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s refused after %v", address, took)
			}
		}
		// Nobody listens at that port.
		if said, err := get(t, n, outsideIP, 9); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("closed port: %q, %v", said, err)
		}
	})
}

func TestOutsideIsReachedByIP6(t *testing.T) {
	if !inLab(t) {
		return
	}
	out := buildLab(t)
	there := serve(t, out, "["+outsideIP6+"]:0", hello)
	here := serve(t, nil, "[::]:0", hello)
	eachKind(t, Config{}, func(t *testing.T, n *Network) {
		if said, err := get(t, n, outsideIP6, there); said != "hello" {
			t.Errorf("outside: %q, %v", said, err)
		}
		for _, address := range []string{"::1", machineIP6, gateway6, "fd00:ec2::254", "64:ff9b::c633:6401", "2002:7f00:1::1"} {
			if said, err := get(t, n, address, here); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: %q, %v", address, said, err)
			}
		}
	})
}

func TestBrokenConnectionsAreBrokenInside(t *testing.T) {
	if !inLab(t) {
		return
	}
	out := buildLab(t)
	port := serve(t, out, outsideIP+":0", func(c net.Conn) {
		hello(c)
		_, _ = c.Read(make([]byte, 1))
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	eachKind(t, Config{}, func(t *testing.T, n *Network) {
		within(t, n.Namespace(), func() {
			c, err := net.Dial("tcp", net.JoinHostPort(outsideIP, fmt.Sprint(port)))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, err = io.ReadFull(c, make([]byte, len("hello")))
			if err == nil {
				_, err = c.Write([]byte("."))
			}
			if err != nil {
				t.Error(err)
			}
			if n, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("after a reset: %d, %v", n, err)
			}
		})
	})
}

func TestManyConnectionsAtOnce(t *testing.T) {
	if !inLab(t) {
		return
	}
	out := buildLab(t)
	port := serve(t, out, outsideIP+":0", func(c net.Conn) { _, _ = io.Copy(c, c) })
	eachKind(t, Config{}, func(t *testing.T, n *Network) {
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				data := bytes.Repeat([]byte{byte(i)}, 100_000+i)
				within(t, n.Namespace(), func() {
					c, err := net.Dial("tcp", net.JoinHostPort(outsideIP, fmt.Sprint(port)))
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					go func() {
						_, _ = c.Write(data)
						_ = c.(*net.TCPConn).CloseWrite()
					}()
					if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
						t.Errorf("%d bytes of %d came back: %v", len(got), len(data), err)
					}
				})
			})
		}
		all.Wait()
	})
}

// A step may end, or be ended, while connections are open, are being made, and are not accepted yet.
func TestOpenConnectionsEndWithTheNetwork(t *testing.T) {
	if !inLab(t) {
		return
	}
	out := buildLab(t)
	accepted := make(chan struct{}, 8)
	port := serve(t, out, outsideIP+":0", func(c net.Conn) {
		accepted <- struct{}{}
		_, _ = c.Read(make([]byte, 1))
	})
	ctx, cancel := context.WithCancel(t.Context())
	eachKind(t, Config{}, func(t *testing.T, n *Network) {
		within(t, n.Namespace(), func() {
			c, err := net.Dial("tcp", net.JoinHostPort(outsideIP, fmt.Sprint(port)))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			// Nobody has this address: the outside never answers.
			_, err = net.DialTimeout("tcp", "198.51.100.77:80", 50*time.Millisecond)
			if err == nil {
				t.Error("nobody answers")
			}
			<-accepted
			cancel()
			began := time.Now()
			if err := n.Close(ctx); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("ended after %v", took)
			}
		})
	})
}

func TestHostGatewayIsTheMachine(t *testing.T) {
	if !inLab(t) {
		return
	}
	buildLab(t)
	here := serve(t, nil, "127.0.0.1:0", hello)
	eachKind(t, Config{HostGateway: true}, func(t *testing.T, n *Network) {
		if said, err := get(t, n, Gateway, here); said != "hello" {
			t.Errorf("gateway: %q, %v", said, err)
		}
		if _, err := get(t, n, machineIP, here); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("address of the machine: %v", err)
		}
	})
}

func TestWhatTheStepSentBeforeItEndedArrives(t *testing.T) {
	if !inLab(t) {
		return
	}
	out := buildLab(t)
	const size = 32 << 20
	got := make(chan [32]byte, 1)
	port := serve(t, out, outsideIP+":0", func(c net.Conn) {
		h := sha256.New()
		n, _ := io.Copy(h, c)
		if n != size {
			t.Errorf("%d bytes arrived of %d", n, size)
		}
		got <- [32]byte(h.Sum(nil))
	})
	data := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), size/36+1)[:size]
	for i := range data {
		data[i] ^= byte(i >> 12)
	}
	want := sha256.Sum256(data)
	eachKind(t, Config{}, func(t *testing.T, n *Network) {
		within(t, n.Namespace(), func() {
			c, err := net.Dial("tcp", net.JoinHostPort(outsideIP, fmt.Sprint(port)))
			if err != nil {
				t.Error(err)
				return
			}
			_, err = c.Write(data)
			if err = errors.Join(err, c.Close()); err != nil {
				t.Error(err)
			}
		})
	}, func(t *testing.T) {
		if sum := <-got; sum != want {
			t.Error("other bytes arrived")
		}
	})
}

func TestNothingOutsideMeansRefused(t *testing.T) {
	if !inLab(t) {
		return
	}
	eachKind(t, Config{}, func(t *testing.T, n *Network) {
		if _, err := get(t, n, "203.0.113.7", 80); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("without any network: %v", err)
		}
		began := time.Now()
		want := append([]byte{0xab, 0xcd, 0x81, 0x82}, question[4:]...)
		if got := askStep(t, n, question); !bytes.Equal(got, want) {
			t.Errorf("answer %x, want %x", got, want)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("lookup failed after %v", took)
		}
	})
}

// question asks for the address of "a.test".
var question = []byte("\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01")

// askStep asks the step's name server.
func askStep(t *testing.T, n *Network, question []byte) []byte {
	t.Helper()
	return exchangeOne(t, n, net.JoinHostPort(Nameserver, "53"), question)
}

// exchangeOne sends a datagram from the step and returns the answer.
func exchangeOne(t *testing.T, n *Network, to string, data []byte) []byte {
	t.Helper()
	b := make([]byte, maxDatagram)
	within(t, n.Namespace(), func() {
		c, err := net.Dial("udp", to)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		err = c.SetDeadline(time.Now().Add(10 * time.Second))
		if err == nil {
			_, err = c.Write(data)
		}
		size := 0
		if err == nil {
			size, err = c.Read(b)
		}
		if err != nil {
			t.Error(err)
		}
		b = b[:size]
	})
	return b
}

// serveDatagrams answers datagrams at an address of the outside.
func serveDatagrams(t *testing.T, ns *os.File, answer func([]byte) []byte) netip.AddrPort {
	t.Helper()
	var c *net.UDPConn
	within(t, ns, func() {
		var err error
		if c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(outsideIP+":0"))); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(answer(b[:n]), from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestNamesAreResolvedByTheMachinesServers(t *testing.T) {
	if !inLab(t) {
		return
	}
	out := buildLab(t)
	server := serveDatagrams(t, out, func(q []byte) []byte { return append([]byte("answer to "), q...) })
	serve(t, out, server.String(), hello)
	dead := netip.MustParseAddrPort(outsideIP + ":9")
	eachKind(t, Config{servers: []netip.AddrPort{dead, server}}, func(t *testing.T, n *Network) {
		if got, want := askStep(t, n, question), "answer to "+string(question); string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
		if said, err := get(t, n, Nameserver, domain); said != "hello" {
			t.Errorf("by TCP: %q, %v", said, err)
		}
	})
}

func TestDatagramsGoBothWays(t *testing.T) {
	if !inLab(t) {
		return
	}
	out := buildLab(t)
	server := serveDatagrams(t, out, func(b []byte) []byte { return bytes.ToUpper(b) })
	eachKind(t, Config{}, func(t *testing.T, n *Network) {
		for _, size := range []int{1, 1400, 65507} {
			data := bytes.Repeat([]byte("x"), size)
			if got := exchangeOne(t, n, server.String(), data); !bytes.Equal(got, bytes.ToUpper(data)) {
				t.Errorf("%d bytes came back of %d", len(got), size)
			}
		}
		within(t, n.Namespace(), func() {
			c, err := net.Dial("udp", net.JoinHostPort(machineIP, fmt.Sprint(server.Port())))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			if err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("the machine: %v", err)
			}
		})
	})
}
