package network

import (
	"io"
	"net"
	"os"
	"testing"
)

// BenchmarkStart is what a network costs a step, from nothing to nothing.
func BenchmarkStart(b *testing.B) {
	for name, veth := range map[string]bool{"tun": false, "veth": true} {
		b.Run(name, func(b *testing.B) {
			if !veth {
				f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
				if err != nil {
					b.Skipf("no TUN: %v", err)
				}
				f.Close()
			}
			for b.Loop() {
				n, err := new(Switch).Connect(Config{Veth: veth})
				if err == nil {
					err = n.Close(b.Context())
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkThroughput sends to a server of the machine, by way of the gateway.
func BenchmarkThroughput(b *testing.B) {
	for name, veth := range map[string]bool{"tun": false, "veth": true} {
		b.Run(name, func(b *testing.B) {
			n, err := new(Switch).Connect(Config{Veth: veth, HostGateway: true})
			if err != nil {
				b.Skip(err)
			}
			defer n.Close(b.Context())
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			go func() {
				c, err := l.Accept()
				if err == nil {
					_, _ = io.Copy(io.Discard, c)
					_, _ = c.Write([]byte("."))
					_ = c.Close()
				}
			}()
			const size = 1 << 20
			b.SetBytes(size)
			data := make([]byte, size)
			var c net.Conn
			within(b, n.Namespace(), func() {
				c, err = net.Dial("tcp", net.JoinHostPort(Gateway, port))
			})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := c.Write(data); err != nil {
					b.Fatal(err)
				}
			}
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.ReadAll(c)
			_ = c.Close()
		})
	}
}
