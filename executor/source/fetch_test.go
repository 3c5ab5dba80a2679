package source_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"builder/cache"
	"builder/executor/source"
	"builder/image/layer"
	"builder/internal/progress"
)

type nowhere struct{}

func (nowhere) Progress(progress.Event) {}

// newFetcher returns a fetcher over the directory dir, as a new process has it.
func newFetcher(t *testing.T, dir string) *source.Fetcher {
	t.Helper()
	c, err := cache.Open(filepath.Join(dir, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"temp", "sources"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return &source.Fetcher{
		Dir: filepath.Join(dir, "sources"), Temp: filepath.Join(dir, "temp"), Cache: c, Trash: os.RemoveAll,
		Secret: func(id string) ([]byte, bool) {
			return []byte("t0ken"), id == "HTTP_AUTH_TOKEN_127.0.0.1"
		},
		Open: func(dir string) (*source.Context, error) {
			opened, err := source.OpenContext(context.Background(), dir, nil, nil)
			if err == nil {
				t.Cleanup(func() { _ = opened.Close() })
			}
			return opened, err
		},
	}
}

func fetch(t *testing.T, f *source.Fetcher, url string) (string, error) {
	t.Helper()
	opened, err := f.HTTP(t.Context(), source.File{URL: url, Name: "x"}, nowhere{}, progress.Vertex{})
	if err != nil {
		return "", err
	}
	e, ok := opened.Lookup("x")
	if !ok || e.Mode != 0o600 {
		t.Fatalf("got %v, %v", e, ok)
	}
	entries := []layer.Entry{e}
	if err := opened.Digest(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	in, err := opened.Open(t.Context(), entries[0])
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(in)
	if err := errors.Join(err, in.Close()); err != nil {
		t.Fatal(err)
	}
	return string(data), nil
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	var seen []string
	note := func(r *http.Request) {
		seen = append(seen, r.URL.Path+" "+r.Header.Get("Authorization")+r.Header.Get("Referer"))
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { note(r) }))
	defer other.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/there", http.StatusFound)
		case "/other":
			http.Redirect(w, r, other.URL+"/there", http.StatusFound)
		}
	}))
	defer first.Close()
	f := newFetcher(t, t.TempDir())
	for _, path := range []string{"/same", "/other"} {
		if _, err := fetch(t, f, first.URL+path); err != nil {
			t.Fatal(err)
		}
	}
	want := "/same Bearer t0ken,/there Bearer t0ken,/other Bearer t0ken,/there "
	if got := strings.Join(seen, ","); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestEndlessFileIsGivenUp(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	f := newFetcher(t, dir)
	f.MaxFile = 1 << 20
	if _, err := fetch(t, f, server.URL); !errors.Is(err, layer.ErrLimit) {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "temp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A file that was torn, and one that was removed, is fetched again; one that the
// server has not changed is not sent again.
func TestFetchedFileIsChecked(t *testing.T) {
	var answers []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			answers = append(answers, "304")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		answers = append(answers, "200")
		_, _ = io.WriteString(w, "content")
	}))
	defer server.Close()
	dir := t.TempDir()
	again := func() {
		t.Helper()
		if got, err := fetch(t, newFetcher(t, dir), server.URL); got != "content" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	again()
	again()
	files, err := filepath.Glob(filepath.Join(dir, "sources/*/*/x"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], []byte("cont"), 0o600); err != nil {
		t.Fatal(err)
	}
	again()
	if err := os.RemoveAll(filepath.Dir(files[0])); err != nil {
		t.Fatal(err)
	}
	again()
	if got := strings.Join(answers, " "); got != "200 304 200 200" {
		t.Errorf("got %s", got)
	}
}
