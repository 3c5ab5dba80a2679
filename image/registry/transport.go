package registry

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"oras.land/oras-go/v2/registry/remote/retry"
)

const (
	maxAttempts = 5
	firstPause  = 250 * time.Millisecond
	// longestPause is how long a registry may make us wait; who says longer is
	// taken to have said no.
	longestPause = time.Minute
	// A registry that says nothing for so long says nothing. After a blob was sent
	// to it, it may have to store that first.
	answerTimeout = time.Minute
	uploadTimeout = 10 * time.Minute
)

// newTransport returns the way to one host.
func newTransport(host string, s Settings) (http.RoundTripper, error) {
	base := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 15 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: 16,
		ForceAttemptHTTP2:   true,
	}
	config, err := tlsConfig(s)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", host, err)
	}
	base.TLSClientConfig = config
	base.ResponseHeaderTimeout = answerTimeout
	patient := base.Clone()
	patient.ResponseHeaderTimeout = uploadTimeout
	t := &schemes{base: base, patient: patient, host: host}
	insecure := s.Insecure != nil && *s.Insecure
	switch {
	case s.HTTP != nil && *s.HTTP:
		t.order = []string{"http"}
	case s.HTTP == nil && isLocal(host):
		// docker asks for https first; a handshake that fails on each start buys
		// nothing, since a server says at once that it wants TLS.
		t.order = []string{"http", "https"}
		skip := config.RootCAs == nil && s.Insecure == nil || insecure
		base.TLSClientConfig.InsecureSkipVerify, patient.TLSClientConfig.InsecureSkipVerify = skip, skip
	case insecure:
		t.order = []string{"https", "http"}
	default:
		t.order = []string{"https"}
	}
	return &retry.Transport{Base: t, Policy: func() retry.Policy { return policy{} }}, nil
}

func tlsConfig(s Settings) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.Insecure != nil && *s.Insecure}
	for _, pair := range s.Keypair {
		certificate, err := tls.LoadX509KeyPair(pair.Certificate, pair.Key)
		if err != nil {
			return nil, fmt.Errorf("keypair: %w", err)
		}
		c.Certificates = append(c.Certificates, certificate)
	}
	if len(s.CA) == 0 {
		return c, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, path := range s.CA {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no certificate in PEM form", path)
		}
	}
	c.RootCAs = pool
	return c, nil
}

// schemes finds out whether a host speaks http or https, with the first request
// to it, and sends the others that way. Other hosts (the realm of a token, the
// place that a blob is redirected to) are left as they are.
type schemes struct {
	base    *http.Transport
	patient *http.Transport // for requests that send something
	host    string
	order   []string // what to try; the first is the guess

	mu    sync.Mutex
	known string
}

// RoundTrip implements [http.RoundTripper].
func (s *schemes) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != s.host {
		return s.send(req)
	}
	s.mu.Lock()
	known := s.known
	s.mu.Unlock()
	if known != "" {
		return s.sendAs(req, known)
	}
	for i, scheme := range s.order {
		resp, err := s.sendAs(req, scheme)
		last := i == len(s.order)-1 || req.Body != nil && req.Body != http.NoBody
		wrong := err != nil && isPlain(err) || err == nil && scheme == "http" && wantsTLS(resp)
		if wrong && !last {
			if err == nil {
				resp.Body.Close() // another answer is asked for
			}
			continue
		}
		if err == nil {
			s.mu.Lock()
			s.known = scheme
			s.mu.Unlock()
		}
		return resp, err
	}
	return nil, fmt.Errorf("no way to %s", s.host)
}

// sendAs sends a request over a scheme. The answer is to the request as it was:
// the scheme is this side's choice, no redirection that credentials would not
// follow.
func (s *schemes) sendAs(req *http.Request, scheme string) (*http.Response, error) {
	resp, err := s.send(withScheme(req, scheme))
	if err == nil {
		resp.Request = req
	}
	return resp, err
}

func (s *schemes) send(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		return s.patient.RoundTrip(req)
	}
	return s.base.RoundTrip(req)
}

func withScheme(req *http.Request, scheme string) *http.Request {
	if req.URL.Scheme == scheme {
		return req
	}
	c := req.Clone(req.Context())
	c.URL.Scheme = scheme
	return c
}

// isPlain reports whether a TLS handshake failed because the server speaks http.
func isPlain(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch)
}

// wantsTLS reports whether an answer over http says that the server speaks
// https. Its body stays readable.
func wantsTLS(resp *http.Response) bool {
	if resp.StatusCode != http.StatusBadRequest {
		return false
	}
	if resp.Request != nil && resp.Request.Method == http.MethodHead {
		return true // it has no body to say so, and no other reason to refuse a look
	}
	start := make([]byte, 512)
	n, _ := io.ReadFull(resp.Body, start) // what there is of it
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start[:n]), resp.Body), resp.Body}
	return bytes.Contains(start[:n], []byte("HTTPS server")) || bytes.Contains(start[:n], []byte("HTTPS port"))
}

// policy says which answers are asked for again, and when.
type policy struct{}

// Retry implements [retry.Policy].
func (policy) Retry(attempt int, resp *http.Response, err error) (time.Duration, error) {
	if attempt >= maxAttempts-1 {
		return -1, nil
	}
	// The default knows broken connections; it returns any other error.
	again, err := retry.DefaultPredicate(resp, err)
	if err != nil || !again {
		return -1, err
	}
	if resp != nil && resp.StatusCode == http.StatusNotImplemented {
		return -1, nil
	}
	pause := firstPause << attempt
	pause += rand.N(pause / 4)
	if resp != nil {
		if wanted, ok := retryAfter(resp.Header.Get("Retry-After")); ok {
			pause = wanted
		}
	}
	if pause > longestPause {
		return -1, nil
	}
	return pause, nil
}

// retryAfter parses the header, seconds or a date: RFC 9110, 10.2.3.
func retryAfter(text string) (time.Duration, bool) {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at)), true
	}
	return 0, false
}
