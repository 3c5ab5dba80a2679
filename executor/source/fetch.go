package source

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"builder/cache"
)

// Fetcher brings files from web servers and checkouts of repositories to this
// machine, and keeps them: what has not changed costs one request, what is named by
// its digest none. It can be used by many goroutines, and several processes may
// use one directory. Within one Fetcher a name stands for one thing: it is asked
// for once.
type Fetcher struct {
	// Dir keeps what was fetched, Temp is for what is not complete yet, on the same
	// file system.
	Dir, Temp string
	Cache     *cache.Cache
	// Trash takes away what is not wanted any more.
	Trash func(path string) error
	// Open opens a directory of what was fetched; whoever gave it closes it.
	Open func(dir string) (*Context, error)
	// Secret returns a secret of the build by its id.
	Secret func(id string) ([]byte, bool)
	// Agent is the socket of the SSH agent that repositories may be asked with; empty
	// is none.
	Agent string
	// Transport is how web servers are reached; nil is the default.
	Transport http.RoundTripper
	// MaxFile is how many bytes a file may have; 0 is the default.
	MaxFile int64

	mu   sync.Mutex
	once map[cache.Key]*fetched
}

// fetched is something that was asked for in this process.
type fetched struct {
	done  chan struct{}
	files *Context
	err   error
}

// only makes what key stands for once, by any number of goroutines, and under the
// key's lock, so that other processes wait.
func (f *Fetcher) only(ctx context.Context, key cache.Key, bring func() (*Context, error)) (*Context, error) {
	f.mu.Lock()
	if f.once == nil {
		f.once = map[cache.Key]*fetched{}
	}
	p, ok := f.once[key]
	if !ok {
		p = &fetched{done: make(chan struct{})}
		f.once[key] = p
	}
	f.mu.Unlock()
	if ok {
		select {
		case <-p.done:
			return p.files, p.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	defer close(p.done)
	unlock, err := f.Cache.Lock(ctx, key, nil)
	if err != nil {
		p.err = err
		return nil, err
	}
	p.files, p.err = bring()
	p.err = errors.Join(p.err, unlock())
	return p.files, p.err
}

// sourceKey names a source: kind, and what tells it from others.
func sourceKey(parts ...string) cache.Key {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d\n%s", len(p), p)
	}
	return cache.Key(h.Sum(nil))
}

// state is what is remembered of a source. It is in the file "state" beside what
// was fetched.
type state struct {
	Version      int
	Source       string // for people, without user and password
	ETag         string `json:",omitempty"`
	LastModified string `json:",omitempty"`
	Digest       string `json:",omitempty"` // SHA-256 of the file
}

const stateVersion = 1

func (f *Fetcher) path(key cache.Key, more ...string) string {
	return filepath.Join(append([]string{f.Dir, key.String()}, more...)...)
}

// read returns what is remembered of a source; the zero state is nothing.
func (f *Fetcher) read(key cache.Key) state {
	var s state
	data, err := os.ReadFile(f.path(key, "state"))
	if err != nil || json.Unmarshal(data, &s) != nil || s.Version != stateVersion {
		return state{}
	}
	return s
}

// write remembers a source, or that it was used just now.
func (f *Fetcher) write(key cache.Key, s state) error {
	s.Version = stateVersion
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(f.Temp, "state-*")
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), f.path(key, "state"))
}

// publish moves a finished directory into the place that name says. What is there
// already stays.
func (f *Fetcher) publish(key cache.Key, dir, name string) error {
	if err := os.MkdirAll(f.path(key), 0o700); err != nil {
		return err
	}
	err := os.Rename(dir, f.path(key, name))
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		return nil
	}
	return err
}

// Kept is something that a [Fetcher] keeps.
type Kept struct {
	Path   string
	Source string // for people
	Used   time.Time
	Size   int64
}

// ListFetched returns what is kept in a Fetcher's directory.
func ListFetched(dir string) ([]Kept, error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Kept
	for _, n := range names {
		k := Kept{Path: filepath.Join(dir, n.Name())}
		if fi, err := os.Stat(filepath.Join(k.Path, "state")); err == nil {
			k.Used = fi.ModTime()
		}
		var s state
		if data, err := os.ReadFile(filepath.Join(k.Path, "state")); err == nil && json.Unmarshal(data, &s) == nil {
			k.Source = s.Source
		}
		err := filepath.WalkDir(k.Path, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := d.Info()
			if err == nil && fi.Mode().IsRegular() {
				k.Size += fi.Size()
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		list = append(list, k)
	}
	return list, nil
}
