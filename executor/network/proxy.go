package network

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// ProxyURL is where a step with [Config.Proxy] finds its proxy.
const ProxyURL = "http://" + proxyHost + ":3128"

const (
	proxyHost = "10.0.2.4"
	proxyPort = 3128
	// maxRequests is how many requests of a step are remembered.
	maxRequests = 10000
)

// Request is what a step asked of the outside by way of its proxy.
type Request struct {
	Method string
	URL    string // without user and password
	Status int    // what the step was told
	// Fault is why there was no answer; Status is then the proxy's own.
	Fault string
	// Digest is the SHA-256 of the body of a GET that was answered with 200 and read to its end,
	// as it came over the wire; Size is its length in bytes.
	Digest string
	Size   int64
}

// String is the line that a build shows.
func (r Request) String() string {
	line := fmt.Sprintf("%s %s -> %d", r.Method, r.URL, r.Status)
	if r.Fault != "" {
		line += " (" + r.Fault + ")"
	}
	return line
}

// proxy answers the HTTP requests of one step, those inside of TLS with a certificate
// that the step was told to trust.
type proxy struct {
	network   *Network
	authority *Authority
	server    *http.Server
	direct    *http.Transport // connects as the step might
	upstream  *http.Transport // connects to the machine's own proxy

	mu       sync.Mutex
	requests []Request
	more     int // that are not remembered
}

func newProxy(n *Network, authority *Authority) *proxy {
	p := &proxy{network: n, authority: authority}
	p.direct = &http.Transport{DialContext: n.dialName, DisableCompression: true, ForceAttemptHTTP2: true, TLSHandshakeTimeout: handshakeTime}
	p.upstream = &http.Transport{Proxy: http.ProxyFromEnvironment, DisableCompression: true, ForceAttemptHTTP2: true, TLSHandshakeTimeout: handshakeTime}
	p.server = p.serverOf(func(r *http.Request) (*url.URL, error) {
		if r.URL.Scheme != "http" || r.URL.Host == "" {
			return nil, errNoURL
		}
		return r.URL, nil
	})
	return p
}

const handshakeTime = 30 * time.Second

var errNoURL = errors.New("this is a proxy: it wants to be asked for a whole URL")

// serverOf answers requests for what where says.
func (p *proxy) serverOf(where func(*http.Request) (*url.URL, error)) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodConnect {
				p.tunnel(w, r)
				return
			}
			to, err := where(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			p.forward(w, r, to)
		}),
		BaseContext:       func(net.Listener) context.Context { return p.network.ctx },
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ReadHeaderTimeout: time.Minute,
	}
}

// serve answers what comes by one connection, until it ends.
func (p *proxy) serve(conn net.Conn, server *http.Server) {
	one := &single{Conn: conn, closed: make(chan struct{}), first: make(chan struct{}, 1)}
	one.first <- struct{}{}
	_ = server.Serve(one) // ends when the connection does
	<-one.closed
}

// forward sends a request on.
func (p *proxy) forward(w http.ResponseWriter, r *http.Request, to *url.URL) {
	seen := Request{Method: r.Method, URL: withoutUser(to)}
	var body *witness
	defer func() {
		if body != nil {
			seen.Digest, seen.Size = body.result()
		}
		p.note(seen)
	}()
	forward := httputil.ReverseProxy{
		Transport:     p.transport(to),
		FlushInterval: -1,
		ErrorLog:      p.server.ErrorLog,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL, r.Out.Host = to, r.In.Host
			r.Out.Header.Del("Proxy-Connection")
		},
		ModifyResponse: func(answer *http.Response) error {
			if seen.Status = answer.StatusCode; r.Method == http.MethodGet && seen.Status == http.StatusOK {
				body = &witness{ReadCloser: answer.Body, hash: sha256.New()}
				answer.Body = body
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			seen.Status, seen.Fault = http.StatusBadGateway, fault(err)
			http.Error(w, seen.Fault, seen.Status)
		},
	}
	forward.ServeHTTP(w, r)
}

// transport chooses the way of a request: by the machine's own proxy where its environment
// names one for it.
func (p *proxy) transport(to *url.URL) http.RoundTripper {
	via, err := http.ProxyFromEnvironment(&http.Request{URL: to})
	if via == nil && err == nil {
		return p.direct
	}
	// Whoever resolves the name then is not here; an address can be looked at.
	if a, failed := netip.ParseAddr(to.Hostname()); failed == nil && !p.network.config.Direct {
		if _, way := p.network.find(netip.AddrPortFrom(a, 0)); way != outside {
			return p.direct // which refuses
		}
	}
	return p.upstream
}

// tunnel is a connection that the step wants to have for itself. It gets one that ends here.
func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	hijacker, ok := w.(http.Hijacker)
	if err != nil || !ok || host == "" {
		http.Error(w, "CONNECT wants host:port", http.StatusBadRequest)
		return
	}
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	start, err := buffered.Peek(1)
	if err != nil {
		return
	}
	inner, scheme := net.Conn(&replayed{conn, buffered.Reader}), "http"
	const handshake = 22 // https://www.rfc-editor.org/rfc/rfc8446#section-5.1
	if start[0] == handshake {
		secure := tls.Server(inner, p.authority.config(host))
		if err := secure.HandshakeContext(r.Context()); err != nil {
			p.note(Request{Method: r.Method, URL: r.Host, Status: http.StatusBadGateway, Fault: "the step does not trust the proxy: " + err.Error()})
			return
		}
		inner, scheme = secure, "https"
	}
	authority := r.Host
	p.serve(inner, p.serverOf(func(r *http.Request) (*url.URL, error) {
		to := *r.URL
		to.Scheme, to.Host = scheme, authority
		return &to, nil
	}))
}

// note remembers a request.
func (p *proxy) note(r Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.requests) == maxRequests {
		p.more++
		return
	}
	p.requests = append(p.requests, r)
}

// close ends the connections of the transports; those of the step are closed by its network.
func (p *proxy) close() {
	p.direct.CloseIdleConnections()
	p.upstream.CloseIdleConnections()
}

// dialName connects to what stands for a name of the outside. All of its addresses are held to what
// steps may reach, and the one that is connected to is one of those that were.
func (n *Network) dialName(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, network, port)
	if err != nil {
		return nil, err
	}
	addresses, err := n.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	err = errRefused
	for _, a := range addresses {
		to, way := netip.AddrPortFrom(a.Unmap(), uint16(number)), outside
		if !n.config.Direct {
			to, way = n.find(to)
		}
		if way != outside {
			continue
		}
		var conn net.Conn
		if conn, err = dialTCP(ctx, to); err == nil {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("connect to %s: %w", address, err)
}

// lookup resolves a name as the step's /etc/hosts does, else as the machine does.
func (n *Network) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, ok := n.config.Hosts[host]; ok {
		host = ip
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// Requests are those that the step has made by its proxy, in the order in which they ended, and how
// many more there were. It is called when the network is closed.
func (n *Network) Requests() (list []Request, more int) {
	if n.proxy == nil {
		return nil, 0
	}
	n.proxy.mu.Lock()
	defer n.proxy.mu.Unlock()
	return n.proxy.requests, n.proxy.more
}

// fault is an error without what a URL may keep secret.
func fault(err error) string {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return err.Error()
}

func withoutUser(u *url.URL) string {
	plain := *u
	plain.User = nil
	return plain.String()
}

// witness sees a body pass.
type witness struct {
	io.ReadCloser
	mu    sync.Mutex
	hash  hash.Hash
	size  int64
	whole bool
}

func (w *witness) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hash.Write(b[:n])
	w.size += int64(n)
	w.whole = w.whole || err == io.EOF
	return n, err
}

// result is the digest of a body that was read to its end.
func (w *witness) result() (digest string, size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.whole {
		return "", 0
	}
	return fmt.Sprintf("sha256:%x", w.hash.Sum(nil)), w.size
}

// replayed is a connection of which something was read ahead.
type replayed struct {
	net.Conn
	ahead *bufio.Reader
}

func (r *replayed) Read(b []byte) (int, error) { return r.ahead.Read(b) }

// single is a connection and the listener that it comes from, the only one.
type single struct {
	net.Conn
	first  chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	select {
	case <-s.first:
		return s, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *single) Addr() net.Addr { return s.LocalAddr() }

func (s *single) Close() error {
	err := s.Conn.Close()
	s.once.Do(func() { close(s.closed) })
	return err
}
