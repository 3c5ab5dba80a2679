package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"builder/image"
)

// Source is a blob in the places where it can be had: mirrors, and the registry
// itself. One goroutine uses it.
type Source struct {
	client *Client
	blob   image.Descriptor
	places []endpoint

	opened bool
	last   int64 // where it was opened last
}

// Blob returns the source of a blob of an image that was resolved before.
func (c *Client) Blob(ref image.Reference, d image.Descriptor) *Source {
	return &Source{client: c, blob: d, places: c.endpoints(ref)}
}

// Blob returns the source of a blob of the image. Where the image was found is
// asked first.
func (r *Remote) Blob(d image.Descriptor) *Source {
	return &Source{client: r.client, blob: d, places: append([]endpoint{}, r.from...)}
}

// Open opens the blob's bytes from an offset on. They are not verified here: who
// stores them does. Who opens again and has got next to nothing asks the next
// place. A large blob comes in several ranges at a time, if the
// registry knows ranges.
func (s *Source) Open(ctx context.Context, from int64) (io.ReadCloser, error) {
	if s.opened && from < s.last+pieceSize {
		s.places = append(s.places[1:len(s.places):len(s.places)], s.places[0])
	}
	s.opened, s.last = true, from
	var faults []string
	var last error
	for i, e := range s.places {
		body, err := s.client.openBlob(ctx, e, s.blob, from)
		if err == nil {
			s.places = append(s.places[i:len(s.places):len(s.places)], s.places[:i]...)
			return body, nil
		}
		last = fmt.Errorf("%s: %w", e, err)
		faults = append(faults, last.Error())
		if ctx.Err() != nil {
			break
		}
	}
	if len(faults) > 1 {
		last = fmt.Errorf("%s; %w", strings.Join(faults[:len(faults)-1], "; "), last)
	}
	return nil, fmt.Errorf("fetch %s from %w", s.blob.Digest, last)
}

// Distrust leaves out the place whose bytes were wrong. It reports whether there
// is another one, to begin with anew.
func (s *Source) Distrust() bool {
	if len(s.places) < 2 {
		return false
	}
	s.places, s.opened = s.places[1:], false
	return true
}

// openBlob opens a blob at one place.
func (c *Client) openBlob(ctx context.Context, e endpoint, d image.Descriptor, from int64) (io.ReadCloser, error) {
	repo, err := c.repository(e)
	if err != nil {
		return nil, err
	}
	if d.Size-from <= 2*pieceSize {
		body, _, err := openRange(ctx, repo, d, from, d.Size)
		return body, err
	}
	first, partial, err := openRange(ctx, repo, d, from, from+pieceSize)
	if err != nil || !partial {
		return first, err
	}
	return newPieces(ctx, repo, d, from, first), nil
}

// openRange opens the bytes of a blob from an offset on, up to another one.
// partial is false where the registry sends all of the blob, whatever it is
// asked for; what was asked for last ends with the blob then.
func openRange(ctx context.Context, repo *remote.Repository, d image.Descriptor, from, to int64) (body io.ReadCloser, partial bool, err error) {
	scheme := "https"
	if repo.PlainHTTP {
		scheme = "http"
	}
	ctx = auth.AppendRepositoryScope(ctx, repo.Reference, auth.ActionPull)
	url := fmt.Sprintf("%s://%s/v2/%s/blobs/%s", scheme, repo.Reference.Host(), repo.Reference.Repository, d.Digest)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, false, err
	}
	if from > 0 || to < d.Size {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	}
	resp, err := repo.Client.Do(req)
	if err != nil {
		return nil, false, explain(err)
	}
	partial, err = checkRange(resp, d, from)
	if err == nil && !partial && from > 0 {
		_, err = io.CopyN(io.Discard, resp.Body, from)
	}
	if err != nil {
		return nil, false, errors.Join(err, resp.Body.Close())
	}
	return resp.Body, partial, nil
}

// checkRange holds an answer against what was asked for.
func checkRange(resp *http.Response, d image.Descriptor, from int64) (partial bool, err error) {
	switch resp.StatusCode {
	case http.StatusOK:
		if n := resp.ContentLength; n >= 0 && n != d.Size {
			return false, fmt.Errorf("the blob has %d bytes there, not %d", n, d.Size)
		}
		return false, nil
	case http.StatusPartialContent:
		text := resp.Header.Get("Content-Range")
		span, size, _ := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
		first, _, _ := strings.Cut(span, "-")
		if at, err := strconv.ParseInt(first, 10, 64); err != nil || at != from {
			return true, fmt.Errorf("asked for bytes from %d on, the answer is %q", from, text)
		}
		if n, err := strconv.ParseInt(size, 10, 64); size != "*" && (err != nil || n != d.Size) {
			return true, fmt.Errorf("the blob has %.20s bytes there, not %d", size, d.Size)
		}
		return true, nil
	case http.StatusNotFound:
		return false, ErrNotFound
	default:
		return false, explain(refusal(resp))
	}
}

const (
	// pieceSize is how much of a large blob is asked for at a time, and pieceCount
	// how many requests are under way for one blob: it is in memory as often.
	pieceSize  = 4 << 20
	pieceCount = 3
)

// pieces is the rest of a blob, read in several ranges at a time and put into
// order again. An error is that of the first piece that could not be had; who
// opens the blob anew goes on there.
type pieces struct {
	repo *remote.Repository
	blob image.Descriptor

	ctx   context.Context //nolint:containedctx // a stream's, from Open to Close
	stop  context.CancelFunc
	work  sync.WaitGroup
	order chan chan piece // the pieces, in order, each when it is here
	free  chan []byte

	now  piece
	left []byte
}

// piece is some bytes, all that came before err.
type piece struct {
	buf []byte
	n   int
	err error
}

// newPieces goes on with a blob of which the range at from was opened.
func newPieces(ctx context.Context, repo *remote.Repository, d image.Descriptor, from int64, first io.ReadCloser) *pieces {
	p := &pieces{repo: repo, blob: d, order: make(chan chan piece, pieceCount), free: make(chan []byte, pieceCount)}
	p.ctx, p.stop = context.WithCancel(ctx)
	for range pieceCount {
		p.free <- nil
	}
	p.work.Go(func() { p.ask(from, first) })
	return p
}

// ask begins a request for each piece, as buffers become free.
func (p *pieces) ask(begin int64, first io.ReadCloser) {
	defer close(p.order)
	for from := begin; from < p.blob.Size; from += pieceSize {
		var buf []byte
		select {
		case buf = <-p.free:
		case <-p.ctx.Done():
		}
		if p.ctx.Err() != nil {
			if first != nil {
				first.Close() // it was read only
			}
			return
		}
		if buf == nil {
			buf = make([]byte, pieceSize)
		}
		here, body := make(chan piece, 1), first
		first = nil
		p.order <- here
		p.work.Go(func() { here <- p.fetch(buf, from, body) })
	}
}

// fetch reads one piece.
func (p *pieces) fetch(buf []byte, from int64, body io.ReadCloser) piece {
	want := min(pieceSize, p.blob.Size-from)
	if body == nil {
		var err error
		if body, _, err = openRange(p.ctx, p.repo, p.blob, from, from+want); err != nil {
			return piece{buf: buf, err: err}
		}
	}
	n, err := io.ReadFull(body, buf[:want])
	if err == nil {
		// An answer that goes on where it was to end is read no further.
		_, _ = io.CopyN(io.Discard, body, 1) // the end, so that the connection is used again
	}
	body.Close() // it was read only
	return piece{buf: buf, n: n, err: err}
}

// Read implements [io.Reader].
func (p *pieces) Read(b []byte) (int, error) {
	for len(p.left) == 0 {
		if p.now.err != nil {
			return 0, p.now.err
		}
		if p.now.buf != nil {
			p.free <- p.now.buf
			p.now.buf = nil
		}
		here, ok := <-p.order
		if !ok {
			if p.ctx.Err() != nil {
				return 0, context.Cause(p.ctx)
			}
			return 0, io.EOF
		}
		p.now = <-here
		p.left = p.now.buf[:p.now.n]
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}

// Close ends the requests.
func (p *pieces) Close() error {
	p.stop()
	p.work.Wait()
	return nil
}
