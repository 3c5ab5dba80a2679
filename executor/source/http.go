package source

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"builder/cache"
	"builder/image/layer"
	"builder/internal/progress"
)

// File is a file of a web server.
type File struct {
	URL  string
	Name string // what it is called here
	// Checksum is what its content has to hash to, as algorithm:hexadecimal; empty
	// takes what comes.
	Checksum string
}

const (
	// maxFile is how large a fetched file may be where nobody says otherwise.
	maxFile = 64 << 30
	// maxRedirects is how often a server may send us elsewhere.
	maxRedirects = 10
	// stall is how long a server may say nothing.
	stall = time.Minute
)

// HTTP returns a directory with the file in it: 0600, with the time that the
// server says it was changed, or 1970. A file that is here and unchanged is not sent again,
// and one whose checksum is known is not even asked for.
func (f *Fetcher) HTTP(ctx context.Context, file File, sink progress.Sink, v progress.Vertex) (*Context, error) {
	key := sourceKey("http", file.URL, file.Name)
	return f.only(ctx, sourceKey("http", file.URL, file.Name, file.Checksum), func() (*Context, error) {
		unlock, err := f.Cache.Lock(ctx, key, nil)
		if err != nil {
			return nil, err
		}
		opened, err := f.http(ctx, key, file, func(current, total int64, done bool) {
			sink.Progress(progress.Advanced{Vertex: v, Part: "transferring", Current: current, Total: total, Done: done, Time: time.Now()})
		})
		return opened, errors.Join(err, unlock())
	})
}

func (f *Fetcher) http(ctx context.Context, key cache.Key, file File, advance func(int64, int64, bool)) (*Context, error) {
	s := f.read(key)
	here, sums, err := f.held(ctx, key, s, file)
	if err != nil {
		return nil, err
	}
	if here != nil && file.Checksum != "" && sums == file.Checksum {
		return here, f.write(key, s)
	}
	if here == nil {
		s = state{}
	}
	s.Source = redact(file.URL)
	fresh, err := f.download(ctx, key, file, &s, advance)
	if err != nil {
		return nil, err
	}
	if !fresh && file.Checksum != "" {
		return nil, mismatch(file, sums)
	}
	if err := f.write(key, s); err != nil {
		return nil, err
	}
	if !fresh {
		return here, nil
	}
	return f.Open(f.path(key, s.Digest))
}

// mismatch says that a file is not the one that was asked for.
func mismatch(file File, got string) error {
	return fmt.Errorf("digest mismatch for %s: %s (expected: %s)", redact(file.URL), got, file.Checksum)
}

// held opens the file as it was fetched before, if it is still what it was, with
// its checksum in the algorithm that is asked for.
func (f *Fetcher) held(ctx context.Context, key cache.Key, s state, file File) (*Context, string, error) {
	if len(s.Digest) != 2*sha256.Size || strings.Trim(s.Digest, "0123456789abcdef") != "" {
		return nil, "", nil
	}
	dir := f.path(key, s.Digest)
	if _, err := os.Lstat(filepath.Join(dir, file.Name)); err != nil {
		return nil, "", nil //nolint:nilerr // it was pruned: fetched again
	}
	c, err := f.Open(dir)
	if err != nil {
		return nil, "", err
	}
	e, ok := c.Lookup(file.Name)
	entries := []layer.Entry{e}
	if err := errors.Join(c.Err(), c.Digest(ctx, entries)); err != nil {
		return nil, "", err
	}
	if !ok || hex.EncodeToString(entries[0].Digest[:]) != s.Digest {
		return nil, "", f.Trash(dir) // torn when the machine went down
	}
	algorithm, _, _ := strings.Cut(file.Checksum, ":")
	if algorithm == "" || algorithm == "sha256" {
		return c, "sha256:" + s.Digest, nil
	}
	sum, err := sumOf(filepath.Join(dir, file.Name), algorithm)
	return c, sum, err
}

// sumOf hashes a file.
func sumOf(path, algorithm string) (string, error) {
	h := hashOf(algorithm)
	if h == nil {
		return "", fmt.Errorf("checksum algorithm %q is not known", algorithm)
	}
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(h, in)
	return algorithm + ":" + hex.EncodeToString(h.Sum(nil)), errors.Join(err, in.Close())
}

func hashOf(algorithm string) hash.Hash {
	switch algorithm {
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	default:
		return nil
	}
}

// download asks the server, and keeps what it sends. fresh is false where the
// file that s describes is still the server's.
func (f *Fetcher) download(ctx context.Context, key cache.Key, file File, s *state, advance func(int64, int64, bool)) (fresh bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := time.AfterFunc(stall, func() { cancel(fmt.Errorf("%s: the server said nothing for %v", redact(file.URL), stall)) })
	defer alive.Stop()
	resp, err := f.ask(ctx, file, s)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return false, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode == http.StatusNotModified && s.Digest != "" {
		return false, nil
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return false, fmt.Errorf("%s: invalid response status %d", redact(file.URL), resp.StatusCode)
	}
	dir, err := os.MkdirTemp(f.Temp, "fetch-*")
	if err != nil {
		return false, err
	}
	body := &watched{r: resp.Body, ctx: ctx, alive: alive, advance: advance, total: max(resp.ContentLength, 0)}
	digest, err := f.store(filepath.Join(dir, file.Name), body, file, resp)
	if err != nil {
		return false, fmt.Errorf("%s: %w", redact(file.URL), errors.Join(err, os.RemoveAll(dir)))
	}
	advance(body.n, body.n, true)
	s.ETag, s.LastModified, s.Digest = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified"), digest
	return true, f.publish(key, dir, digest)
}

// store writes a body to a new file and returns its digest.
func (f *Fetcher) store(path string, body io.Reader, file File, resp *http.Response) (digest string, err error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	limit := f.MaxFile
	if limit == 0 {
		limit = maxFile
	}
	sum := sha256.New()
	to := io.MultiWriter(out, sum)
	algorithm, _, _ := strings.Cut(file.Checksum, ":")
	wanted := hashOf(algorithm)
	if wanted != nil {
		to = io.MultiWriter(out, sum, wanted)
	}
	n, err := io.Copy(to, io.LimitReader(body, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("the file has more than %d bytes: %w", limit, layer.ErrLimit)
	}
	if err = errors.Join(err, out.Chmod(0o600), out.Close()); err != nil {
		return "", err
	}
	if wanted != nil {
		if got := algorithm + ":" + hex.EncodeToString(wanted.Sum(nil)); got != file.Checksum {
			return "", mismatch(file, got)
		}
	}
	at, err := http.ParseTime(resp.Header.Get("Last-Modified"))
	if err != nil {
		at = time.Unix(0, 0)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// watched is a body that somebody waits for.
type watched struct {
	r       io.Reader
	ctx     context.Context //nolint:containedctx // says why reading ended
	alive   *time.Timer
	advance func(int64, int64, bool)
	n, told int64
	total   int64
}

// Read implements [io.Reader].
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.alive.Reset(stall)
	if w.n += int64(n); w.n-w.told > 1<<20 {
		w.told = w.n
		w.advance(w.n, w.total, false)
	}
	if err != nil && err != io.EOF && w.ctx.Err() != nil {
		err = context.Cause(w.ctx)
	}
	return n, err
}

// ask sends the request: only for what has changed since s, where there is
// something.
func (f *Fetcher) ask(ctx context.Context, file File, s *state) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, file.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: not a URL that can be fetched", redact(file.URL))
	}
	if req.URL.Host == "" {
		return nil, fmt.Errorf("%s: the URL has no host", redact(file.URL))
	}
	req.Header.Set("User-Agent", "builder")
	if s.Digest != "" && s.ETag != "" {
		req.Header.Set("If-None-Match", s.ETag)
	}
	if s.Digest != "" && s.LastModified != "" {
		req.Header.Set("If-Modified-Since", s.LastModified)
	}
	if value := f.authorization(req.URL.Hostname()); value != "" {
		req.Header.Set("Authorization", value)
	}
	client := http.Client{Transport: f.Transport, CheckRedirect: follow}
	resp, err := client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // its text has the whole URL, which may hold a token
		}
		return nil, fmt.Errorf("%s: %w", redact(file.URL), err)
	}
	return resp, nil
}

// follow lets a request go where the server sends it, without what is meant for
// the first server alone.
func follow(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	first := via[0].URL
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirect to %q, which is no web server", redact(req.URL.String()))
	}
	if req.URL.Host != first.Host || first.Scheme == "https" && req.URL.Scheme != "https" {
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	req.Header.Del("Referer")
	return nil
}

// authorization is what the build's secrets say to a host.
func (f *Fetcher) authorization(host string) string {
	if f.Secret == nil {
		return ""
	}
	if token, ok := f.Secret("HTTP_AUTH_TOKEN_" + host); ok {
		return "Bearer " + strings.TrimSpace(string(token))
	}
	if header, ok := f.Secret("HTTP_AUTH_HEADER_" + host); ok {
		return strings.TrimSpace(string(header))
	}
	return ""
}

// redact returns a URL without user, password and query, which often holds a
// token. A text that is no URL is hidden as a whole.
func redact(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(a URL that cannot be read)"
	}
	u.User = nil
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	return u.String()
}
