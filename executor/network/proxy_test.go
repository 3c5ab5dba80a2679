package network

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// site is a web server, or one with TLS.
func site(t *testing.T, ns *os.File, address string, secure *tls.Config) (port int) {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/missing":
			http.NotFound(w, r)
		case "/echo":
			body, _ := io.ReadAll(r.Body) // HTTP/1 does not go both ways at the same time
			_, _ = w.Write(body)
		default:
			fmt.Fprintf(w, "%s %s of %s", r.Method, r.URL, r.Host)
		}
	})}
	listen := func() {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		port = l.Addr().(*net.TCPAddr).Port
		if secure != nil {
			l = tls.NewListener(l, secure)
		}
		go server.Serve(l)
	}
	if ns == nil {
		listen()
	} else {
		within(t, ns, listen)
	}
	t.Cleanup(func() { server.Close() })
	return port
}

// client is a step's program that knows of the proxy and trusts what it was told to.
func client(t *testing.T, n *Network, trusts []byte) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusts)
	proxy, err := url.Parse(ProxyURL)
	must(t, err)
	transport := &http.Transport{
		Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(_ context.Context, network, address string) (c net.Conn, err error) {
			within(t, n.Namespace(), func() { c, err = net.DialTimeout(network, address, 5*time.Second) })
			return c, err
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// ask returns the status and the body of an answer.
func ask(t *testing.T, c *http.Client, method, address, body string) string {
	t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(body))
	must(t, err)
	answer, err := c.Do(r)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	must(t, err)
	return fmt.Sprint(answer.StatusCode, " ", strings.TrimSpace(string(b)))
}

func TestProxyIsTheOnlyWayOut(t *testing.T) {
	if !inLab(t) {
		return
	}
	out := buildLab(t)
	authority, err := NewAuthority()
	must(t, err)
	// The outside has a certificate that this machine trusts.
	trusted := httptest.NewTLSServer(http.NotFoundHandler())
	defer trusted.Close()
	cert := trusted.TLS.Certificates[0]
	file := filepath.Join(t.TempDir(), "trusted.pem")
	must(t, os.WriteFile(file, pemOf(cert.Certificate[0]), 0o600))
	t.Setenv("SSL_CERT_FILE", file)
	plain := site(t, out, outsideIP+":0", nil)
	secure := site(t, out, outsideIP+":0", &tls.Config{Certificates: []tls.Certificate{cert}})
	here := site(t, nil, "0.0.0.0:0", nil)
	raw := serve(t, out, outsideIP+":0", hello)
	config := Config{Proxy: authority, Hosts: map[string]string{"example.com": outsideIP, "machine": machineIP}}
	eachKind(t, config, func(t *testing.T, n *Network) {
		c := client(t, n, authority.PEM())
		at := fmt.Sprintf("%s:%d", outsideIP, plain)
		for _, test := range []struct{ method, url, body, want string }{
			{"GET", "http://" + at + "/a?b=c", "", "200 GET /a?b=c of " + at},
			{"GET", "http://user:secret@" + at + "/a", "", "200 GET /a of " + at},
			{"GET", "http://" + at + "/missing", "", "404 404 page not found"},
			{"POST", "http://" + at + "/echo", strings.Repeat("long", 100_000), "200 " + strings.Repeat("long", 100_000)},
			{"GET", fmt.Sprintf("https://example.com:%d/x", secure), "", fmt.Sprintf("200 GET /x of example.com:%d", secure)},
			{"GET", fmt.Sprintf("http://127.0.0.1:%d/", here), "", "502 connect to"},
			{"GET", fmt.Sprintf("http://machine:%d/", here), "", "502 connect to"},
			{"GET", fmt.Sprintf("http://localhost:%d/", here), "", "502 connect to"},
			{"GET", "http://169.254.169.254/", "", "502 connect to"},
		} {
			if got := ask(t, c, test.method, test.url, test.body); !strings.HasPrefix(got, test.want) {
				t.Errorf("%s %s: %.200q, want %.200q", test.method, test.url, got, test.want)
			}
		}
		// Who does not trust the proxy gets nothing, and that is said.
		if got := ask(t, client(t, n, nil), "GET", fmt.Sprintf("https://example.com:%d/", secure), ""); !strings.Contains(got, "certificate") {
			t.Errorf("without trust: %q", got)
		}
		// Nothing but the proxy answers.
		for address, port := range map[string]int{outsideIP: raw, Gateway: plain, Nameserver: plain, proxyHost: plain, machineIP: here} {
			if said, err := get(t, n, address, port); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s past the proxy: %q, %v", address, said, err)
			}
		}
		// A tunnel is for HTTP too.
		within(t, n.Namespace(), func() {
			conn, err := net.Dial("tcp", strings.TrimPrefix(ProxyURL, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\nSSH-2.0-x\r\n\r\n", outsideIP, raw)
			said, _ := io.ReadAll(conn)
			if !bytes.Contains(said, []byte("400 Bad Request")) || bytes.Contains(said, []byte("hello")) {
				t.Errorf("another protocol in a tunnel: %q", said)
			}
		})
		must(t, n.Close(t.Context()))
		list, _ := n.Requests()
		seen := func(prefix string) (found Request) { // in whichever order they ended
			for _, r := range list {
				if strings.HasPrefix(r.String(), prefix) {
					found = r
				}
			}
			return found
		}
		want := []string{
			"GET http://" + at + "/a?b=c -> 200", "GET http://" + at + "/a -> 200", "GET http://" + at + "/missing -> 404",
			"POST http://" + at + "/echo -> 200", fmt.Sprintf("GET https://example.com:%d/x -> 200", secure),
			fmt.Sprintf("GET http://127.0.0.1:%d/ -> 502 (", here), fmt.Sprintf("GET http://machine:%d/ -> 502 (", here),
			fmt.Sprintf("GET http://localhost:%d/ -> 502 (", here), "GET http://169.254.169.254/ -> 502 (",
			fmt.Sprintf("CONNECT example.com:%d -> 502 (the step does not trust the proxy", secure),
		}
		for _, line := range want {
			if seen(line).URL == "" {
				t.Errorf("%q is not among %v", line, list)
			}
		}
		if len(list) != len(want) {
			t.Errorf("%d requests and not %d: %v", len(list), len(want), list)
		}
		body := "GET /a?b=c of " + at
		if r, digest := seen(want[0]), fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(body))); r.Digest != digest || r.Size != int64(len(body)) {
			t.Errorf("the body of %v is %s, %d bytes", r, r.Digest, r.Size)
		}
		for _, line := range want[2:4] {
			if r := seen(line); r.Digest != "" {
				t.Errorf("the body of %v is known", r)
			}
		}
	})
}

func TestProxyOfTheHostReachesIt(t *testing.T) {
	if !inLab(t) {
		return
	}
	buildLab(t)
	authority, err := NewAuthority()
	must(t, err)
	here := site(t, nil, "127.0.0.1:0", nil)
	eachKind(t, Config{Proxy: authority, Direct: true}, func(t *testing.T, n *Network) {
		c := client(t, n, authority.PEM())
		if got, want := ask(t, c, "GET", fmt.Sprintf("http://127.0.0.1:%d/", here), ""), "200 GET"; !strings.HasPrefix(got, want) {
			t.Errorf("got %q", got)
		}
		if _, err := get(t, n, "127.0.0.1", here); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("past the proxy: %v", err)
		}
	})
}

// An unfinished answer does not keep the network from being closed.
func TestProxyEndsWithTheStep(t *testing.T) {
	if !inLab(t) {
		return
	}
	out := buildLab(t)
	authority, err := NewAuthority()
	must(t, err)
	port := serve(t, out, outsideIP+":0", func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin")
		_, _ = io.Copy(io.Discard, c)
	})
	eachKind(t, Config{Proxy: authority}, func(t *testing.T, n *Network) {
		answer, err := client(t, n, nil).Get(fmt.Sprintf("http://%s:%d/", outsideIP, port))
		must(t, err)
		defer answer.Body.Close()
		_, err = io.ReadFull(answer.Body, make([]byte, 5))
		must(t, err)
		must(t, n.Close(t.Context()))
		if list, _ := n.Requests(); len(list) != 1 || list[0].Digest != "" {
			t.Errorf("requests are %v", list)
		}
	})
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
