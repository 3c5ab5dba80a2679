package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// mixedFiles is a layer of files that are handed over together, apart, and in
// several blocks.
func mixedFiles(t testing.TB) (*Index, memSource) {
	t.Helper()
	var entries []Entry
	files := memSource{}
	for i := range 600 {
		size := i * 7
		switch {
		case i%5 == 0:
			size = 0
		case i%100 == 1:
			size = aheadBlock - 1 + i%3
		case i%200 == 2:
			size = 3*aheadBlock + i
		}
		path := fmt.Sprintf("f%03d", i)
		data := strings.Repeat(string(rune('a'+i%26)), size)
		files[path] = data
		entries = append(entries, Entry{Path: path, Type: File, Mode: 0o644, Size: int64(size), Digest: sum(data)})
	}
	ix, err := NewIndex(entries)
	if err != nil {
		t.Fatal(err)
	}
	return ix, files
}

// meeting is a source whose first two files wait for each other.
type meeting struct {
	Source
	opened atomic.Int64
	met    chan struct{}
}

func (m *meeting) Open(ctx context.Context, e Entry) (io.ReadCloser, error) {
	switch m.opened.Add(1) {
	case 1:
		select {
		case <-m.met:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	case 2:
		close(m.met)
	}
	return m.Source.Open(ctx, e)
}

func TestFilesAreReadSideBySide(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	ix, files := mixedFiles(t)
	var want, got bytes.Buffer
	if err := WriteTar(t.Context(), &want, ix, inOrder{t, files, new(atomic.Bool), new(string)}, []int64{1}); err != nil {
		t.Fatal(err)
	}
	if err := WriteTar(t.Context(), &got, ix, &meeting{Source: files, met: make(chan struct{})}, []int64{1}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Error("the tar depends on who reads the files")
	}
	for r := tar.NewReader(&got); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(r); err != nil || string(data) != files[h.Name] {
			t.Errorf("%s: %d bytes that are not the file's, %v", h.Name, len(data), err)
		}
	}
}

// inOrder is a source that fails the test if it is not treated as sequential.
type inOrder struct {
	t    testing.TB
	from Source
	open *atomic.Bool
	last *string
}

func (inOrder) Sequential() {}

func (s inOrder) Open(ctx context.Context, e Entry) (io.ReadCloser, error) {
	if s.open.Swap(true) {
		s.t.Error("two files are open at a time")
	}
	if e.Path <= *s.last {
		s.t.Errorf("%s is asked for after %s", e.Path, *s.last)
	}
	*s.last = e.Path
	r, err := s.from.Open(ctx, e)
	return closing{r, s.open}, err
}

type closing struct {
	io.ReadCloser
	open *atomic.Bool
}

func (c closing) Close() error {
	c.open.Store(false)
	return c.ReadCloser.Close()
}

// TestTheFirstChangedFileIsNamed: whoever reads the others.
func TestTheFirstChangedFileIsNamed(t *testing.T) {
	ix, files := mixedFiles(t)
	for _, bad := range []string{"f001", "f002", "f202", "f333", "f599"} {
		changed := memSource{}
		for path, data := range files {
			if path >= bad && data != "" {
				data = "x" + data[1:]
			}
			changed[path] = data
		}
		err := WriteTar(t.Context(), io.Discard, ix, changed, []int64{1})
		if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s and those after it have changed: %v", bad, err)
		}
	}
	ix.Entries = slices.Clone(ix.Entries)
	ix.Entries[595].Digest[0]++
	if err := WriteTar(t.Context(), io.Discard, ix, files, []int64{1}); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "f595") {
		t.Errorf("an empty file was none: %v", err)
	}
}

// failing is a disk that is full after some writes.
type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errors.ErrUnsupported
	}
	return len(p), nil
}

func TestNobodyReadsOn(t *testing.T) {
	ix, files := mixedFiles(t)
	var open atomic.Int64
	src := counting{files, &open}
	if err := WriteTar(t.Context(), &failing{2}, ix, src, []int64{1}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a full disk: %v", err)
	}
	if n := open.Load(); n != 0 {
		t.Errorf("%d files are still open", n)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	err := WriteTar(ctx, writerFunc(func(p []byte) (int, error) { cancel(stopped); return len(p), nil }), ix, src, []int64{1})
	if !errors.Is(err, stopped) {
		t.Errorf("a context that ended: %v", err)
	}
	if n := open.Load(); n != 0 {
		t.Errorf("%d files are still open", n)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// counting counts the files that are open.
type counting struct {
	Source
	open *atomic.Int64
}

func (c counting) Open(ctx context.Context, e Entry) (io.ReadCloser, error) {
	r, err := c.Source.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return counted{r, c.open}, nil
}

type counted struct {
	io.ReadCloser
	open *atomic.Int64
}

func (c counted) Close() error {
	c.open.Add(-1)
	return c.ReadCloser.Close()
}
