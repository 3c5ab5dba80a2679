package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// web serves a directory over http, and proxies a registry that way:
//
//	web start VAR DIR             sets VAR to host:port
//	web proxy VAR HOST FAULT...   the same, in front of another server
//	web git VAR DIR               the same, for the repositories in DIR
//	web auth VAR HOST VALUE       a proxy that wants Authorization: VALUE
//
// A fault is METHOD:PATTERN:COUNT:WHAT: for as many requests as COUNT says whose
// path fits the regular expression, the first of them after those that earlier
// faults took. WHAT is a status such as 429, "drop" for a connection that breaks
// before an answer, "cut" for a body that ends in its middle, "late" for one
// that ends after a megabyte, "flip" for one with
// a wrong byte, "twist" for one with a wrong byte that is larger than a megabyte, "endless" for one that does not end,
// "to=URL" for a redirect. Each request is a line in
// $VAR.log.
func web(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: web start VAR DIR | web proxy VAR HOST FAULT... | web git VAR DIR | web auth VAR HOST VALUE")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	var handler http.Handler
	switch args[0] {
	case "start":
		handler = http.FileServer(http.Dir(ts.MkAbs(args[2])))
	case "git":
		path, err := exec.Command("git", "--exec-path").Output()
		ts.Check(err)
		handler = &cgi.Handler{
			Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Root: "/",
			Env: []string{"GIT_PROJECT_ROOT=" + ts.MkAbs(args[2]), "GIT_HTTP_EXPORT_ALL=1", "HOME=" + ts.MkAbs(".")},
		}
	case "auth":
		next := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: args[2]})
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != args[3] {
				w.Header().Set("WWW-Authenticate", "Basic")
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	case "proxy":
		p := &faulty{next: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: args[2]})}
		for _, text := range args[3:] {
			f, err := parseFault(text)
			ts.Check(err)
			p.faults = append(p.faults, f)
		}
		handler = p
	default:
		ts.Fatalf("web: unknown command %q", args[0])
	}
	log, err := os.OpenFile(ts.MkAbs(args[1]+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	ts.Check(err)
	server := &http.Server{Handler: &requests{next: handler, log: log}}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // it ends with ErrServerClosed
	ts.Defer(func() {
		_ = server.Close()
		serving.Wait()
		_ = log.Close()
	})
	ts.Setenv(args[1], listener.Addr().String())
}

// fault is what happens to some requests.
type fault struct {
	method  string
	pattern *regexp.Regexp
	count   int
	what    string
}

func parseFault(text string) (*fault, error) {
	words := strings.SplitN(text, ":", 4)
	if len(words) != 4 {
		return nil, fmt.Errorf("fault %q is not METHOD:PATTERN:COUNT:WHAT", text)
	}
	pattern, err := regexp.Compile(words[1])
	if err != nil {
		return nil, err
	}
	count, err := strconv.Atoi(words[2])
	return &fault{words[0], pattern, count, words[3]}, err
}

// faulty answers some requests wrongly.
type faulty struct {
	next http.Handler

	mu     sync.Mutex
	faults []*fault
}

func (f *faulty) take(r *http.Request) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.faults {
		if fault.count > 0 && fault.method == r.Method && fault.pattern.MatchString(r.URL.Path) {
			fault.count--
			return fault.what
		}
	}
	return ""
}

// ServeHTTP implements http.Handler.
func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := f.take(r)
	switch what {
	case "", "skip":
		f.next.ServeHTTP(w, r)
	case "drop":
		panic(http.ErrAbortHandler)
	case "cut", "late", "flip", "twist", "endless":
		f.next.ServeHTTP(&spoiled{ResponseWriter: w, how: what}, r)
	default:
		if to, ok := strings.CutPrefix(what, "to="); ok {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		status, err := strconv.Atoi(what)
		if err != nil {
			panic(err)
		}
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
	}
}

// spoiled is an answer whose body is not as it should be.
type spoiled struct {
	http.ResponseWriter
	how  string
	sent int64
}

// WriteHeader implements http.ResponseWriter.
func (s *spoiled) WriteHeader(status int) {
	if s.how == "endless" {
		s.Header().Del("Content-Length")
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (s *spoiled) Write(p []byte) (int, error) {
	switch s.how {
	case "cut":
		_, _ = s.ResponseWriter.Write(p[:len(p)/2])
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	case "late":
		if s.sent > 1<<20 {
			panic(http.ErrAbortHandler)
		}
	case "twist":
		if n, err := strconv.Atoi(s.Header().Get("Content-Length")); err == nil && n > 1<<20 && s.sent == 0 {
			p = append([]byte{p[0] ^ 1}, p[1:]...)
		}
	case "flip":
		if len(p) > 0 && s.sent == 0 {
			p = append([]byte{p[0] ^ 1}, p[1:]...)
		}
	case "endless":
		for {
			if _, err := s.ResponseWriter.Write(p); err != nil {
				return 0, err
			}
		}
	}
	n, err := s.ResponseWriter.Write(p)
	s.sent += int64(n)
	return n, err
}

// requests writes down what is asked for.
type requests struct {
	next http.Handler
	log  *os.File
}

// ServeHTTP implements http.Handler.
func (l *requests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// One write, so that lines of several requests do not mix.
	if _, err := fmt.Fprintf(l.log, "%s %s %s%s\n", r.Method, r.URL.RequestURI(), r.Header.Get("Range"), r.Header.Get("Content-Range")); err != nil {
		panic(err)
	}
	l.next.ServeHTTP(w, r)
	_, _ = io.Copy(io.Discard, r.Body) // what a fault did not read
}
