package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"builder/image"
)

// noise is bytes that are the same in each run.
func noise(n int) []byte {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(data)
	return data
}

// large is a server of one large blob. It answers each request as before says.
type large struct {
	data   []byte
	ranges bool
	before func(n int, w http.ResponseWriter, r *http.Request) (done bool)

	mu    sync.Mutex
	asked []string
}

func (l *large) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.asked = append(l.asked, r.Header.Get("Range"))
	n := len(l.asked)
	l.mu.Unlock()
	if l.before != nil && l.before(n, w, r) {
		return
	}
	if !l.ranges {
		r.Header.Del("Range")
		w.Header().Set("Content-Length", fmt.Sprint(len(l.data)))
		_, _ = w.Write(l.data)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(l.data))
}

func (l *large) serve(t *testing.T) string {
	t.Helper()
	noCredentials(t)
	s := httptest.NewServer(l)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func (l *large) descriptor() image.Descriptor {
	return image.Descriptor{Digest: digest.FromBytes(l.data), Size: int64(len(l.data))}
}

// gather reads a blob as a store does: what breaks is opened anew where it broke.
func gather(t *testing.T, s *Source, from int64) ([]byte, error) {
	t.Helper()
	var all []byte
	for failures := 0; ; {
		body, err := s.Open(t.Context(), from+int64(len(all)))
		if err != nil {
			return all, err
		}
		part, err := io.ReadAll(body)
		all = append(all, part...)
		if cerr := body.Close(); cerr != nil {
			t.Fatal(cerr)
		}
		if err == nil || failures == 9 {
			return all, err
		}
		failures++
	}
}

func TestLargeBlobsComeInRanges(t *testing.T) {
	server := &large{data: noise(5*pieceSize + 12345), ranges: true}
	together := make(chan struct{}, 1)
	server.before = func(n int, _ http.ResponseWriter, r *http.Request) bool {
		// The second request has its answer when the third has come: they are under way together.
		switch n {
		case 2:
			select {
			case <-together:
			case <-r.Context().Done():
			}
		case 3:
			together <- struct{}{}
		}
		return false
	}
	name := ref(t, server.serve(t)+"/app:1")
	for _, from := range []int64{0, 1000} {
		server.asked = nil
		got, err := gather(t, New(Options{}).Blob(name, server.descriptor()), from)
		if err != nil || !bytes.Equal(got, server.data[from:]) {
			t.Fatalf("from %d: %d bytes: %v", from, len(got), err)
		}
		if len(server.asked) != 6 || server.asked[0] != fmt.Sprintf("bytes=%d-%d", from, from+pieceSize-1) {
			t.Errorf("from %d: asked for %q", from, server.asked)
		}
	}
}

func TestARegistryWithoutRangesSendsAllAtOnce(t *testing.T) {
	server := &large{data: noise(4 * pieceSize)}
	s := New(Options{}).Blob(ref(t, server.serve(t)+"/app:1"), server.descriptor())
	for _, from := range []int64{0, 5} {
		if got, err := gather(t, s, from); err != nil || !bytes.Equal(got, server.data[from:]) {
			t.Fatalf("from %d: %d bytes: %v", from, len(got), err)
		}
	}
	if len(server.asked) != 2 {
		t.Errorf("asked for %q", server.asked)
	}
}

func TestABrokenRangeIsTakenUpWhereItBroke(t *testing.T) {
	server := &large{data: noise(6 * pieceSize), ranges: true}
	server.before = func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n%3 != 0 {
			return false
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-1/%d", len(server.data)))
		if n == 3 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusPartialContent) // of the wrong bytes
		return true
	}
	got, err := gather(t, New(Options{}).Blob(ref(t, server.serve(t)+"/app:1"), server.descriptor()), 0)
	if n := len(got); n > len(server.data) || !bytes.Equal(got, server.data[:n]) {
		t.Errorf("%d bytes that are not the blob's: %v", n, err)
	}
	server.before = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 2 {
			http.ServeContent(&short{w, pieceSize / 2}, r, "", time.Time{}, bytes.NewReader(server.data))
			panic(http.ErrAbortHandler)
		}
		return false
	}
	server.asked = nil
	got, err = gather(t, New(Options{}).Blob(ref(t, server.serve(t)+"/app:1"), server.descriptor()), 0)
	if err != nil || !bytes.Equal(got, server.data) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
}

// short is an answer that breaks off.
type short struct {
	http.ResponseWriter
	left int
}

func (s *short) Write(p []byte) (int, error) {
	n := min(s.left, len(p))
	s.left -= n
	if _, err := s.ResponseWriter.Write(p[:n]); err != nil {
		return 0, err
	}
	if n < len(p) {
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func TestTheNextPlaceIsAskedWhereOneGivesNothingOrTheWrongThing(t *testing.T) {
	data := noise(1000)
	own := &large{data: data}
	breaks := &large{data: data, before: func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}}
	longer := &large{data: append(noise(1000), 'x')}
	host := own.serve(t)
	c := New(Options{Config: Config{Registry: map[string]Settings{host: {Mirrors: []string{longer.serve(t), breaks.serve(t)}}}}})
	s := c.Blob(ref(t, host+"/app:1"), own.descriptor())
	got, err := gather(t, s, 0)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes: %v", len(got), err)
	}
	if len(longer.asked) != 1 || len(breaks.asked) != 1 || len(own.asked) != 1 {
		t.Errorf("asked %d, %d and %d times", len(longer.asked), len(breaks.asked), len(own.asked))
	}

	s = c.Blob(ref(t, host+"/app:1"), own.descriptor())
	for range 2 {
		if !s.Distrust() {
			t.Fatal("no place is left beside the mirrors")
		}
	}
	if got, err := gather(t, s, 0); err != nil || !bytes.Equal(got, data) || s.Distrust() {
		t.Errorf("%d bytes: %v", len(got), err)
	}
}

func TestClosingEndsTheRequestsForRanges(t *testing.T) {
	server := &large{data: noise(8 * pieceSize), ranges: true, before: func(n int, _ http.ResponseWriter, r *http.Request) bool {
		if n > 1 {
			<-r.Context().Done() // the other side's end
		}
		return n > 1
	}}
	ctx, cancel := context.WithCancelCause(t.Context())
	body, err := New(Options{}).Blob(ref(t, server.serve(t)+"/app:1"), server.descriptor()).Open(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, pieceSize)); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	cancel(enough)
	if _, err := body.Read(make([]byte, 1)); err == nil {
		t.Error("read on after the end")
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}
