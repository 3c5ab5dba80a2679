package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"builder/image/layer"
)

// emptyDigest is the digest of no bytes.
var emptyDigest = sha256.Sum256(nil)

// hashed is what was read of a file.
type hashed struct {
	digest [32]byte
	size   int64
}

// attempts is how often a file is read that changes while it is read.
const attempts = 3

// Digest sets the digests of the files among entries, which come from this
// context, and their sizes to those of the bytes that were hashed. Files are read
// by several goroutines, and only where no digest is known.
func (c *Context) Digest(ctx context.Context, entries []layer.Entry) error {
	var missing []*layer.Entry
	for i := range entries {
		e := &entries[i]
		if (e.Type == layer.File || e.Type == layer.Hardlink) && e.Digest == [32]byte{} {
			missing = append(missing, e)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	c.hashing.Lock()
	defer c.hashing.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(max(2, runtime.GOMAXPROCS(0)), len(missing)) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(missing) {
					return nil
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := c.digest(missing[i]); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// digest sets one digest.
func (c *Context) digest(e *layer.Entry) error {
	c.mu.Lock()
	h, ok := c.hashed[e.Path]
	c.mu.Unlock()
	if !ok {
		var err error
		if h, err = c.hash(e); err != nil {
			return err
		}
		c.mu.Lock()
		c.hashed[e.Path] = h
		c.mu.Unlock()
	}
	e.Digest, e.Size = h.digest, h.size
	return nil
}

// hash reads a file until it stays the same while it is read.
func (c *Context) hash(e *layer.Entry) (hashed, error) {
	for range attempts {
		h, stat, ok, err := c.hashOnce(e.Path)
		if err != nil {
			return h, c.pathError("read", e.Path, err)
		}
		if !ok {
			continue
		}
		if c.known != nil && len(e.Xattrs) == 0 && c.settled(stat) {
			c.known.Store(stat, h.digest)
		}
		return h, nil
	}
	return hashed{}, c.pathError("read", e.Path, layer.ErrChanged)
}

// hashOnce reads a file; ok is false where it changed meanwhile.
func (c *Context) hashOnce(path string) (h hashed, stat Stat, ok bool, err error) {
	f, err := c.open(path)
	if err != nil {
		return h, stat, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	// A plain loop: io.Copy would ask for better ways first, for every small file.
	for {
		n, err := f.Read(*buf)
		h.size += int64(n)
		sum.Write((*buf)[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return h, stat, false, err
		}
	}
	sum.Sum(h.digest[:0])
	var after unix.Stat_t
	if err := unix.Fstat(f.fd, &after); err != nil {
		return h, stat, false, err
	}
	stat = statOf(&after)
	return h, stat, stat == f.stat && stat.Size == h.size, nil
}

var readBuffers = sync.Pool{New: func() any {
	buf := make([]byte, 64<<10)
	return &buf
}}

// settled reports whether a file's state tells its content from any later one:
// its times are older than the walk by more than their step. A file system that
// shows whole seconds may have steps of two.
func (c *Context) settled(s Stat) bool {
	step := 50 * time.Millisecond
	if s.Mtime%1e9 == 0 && s.Ctime%1e9 == 0 {
		step = 3 * time.Second
	}
	limit := c.start.Add(-step).UnixNano()
	return s.Mtime < limit && s.Ctime < limit
}

// Open opens a file of the context. Whether it still is what it was, the reader
// finds out by comparing digests.
func (c *Context) Open(_ context.Context, e layer.Entry) (io.ReadCloser, error) {
	if e.Digest == emptyDigest {
		return noBytes{}, nil // and sockets cannot be opened
	}
	f, err := c.open(e.Path)
	if err != nil {
		return nil, c.pathError("open", e.Path, err)
	}
	return f, nil
}

// file is an open regular file. [os.File] would ask the poller about each. It ends
// where it did when it was opened, so that nobody has to ask.
type file struct {
	fd   int
	stat Stat
	read int64
}

func (c *Context) open(path string) (*file, error) {
	fd, err := c.root.OpenFileBelow(path)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.Join(fmt.Errorf("%w: not a regular file any more", layer.ErrChanged), unix.Close(fd))
	}
	return &file{fd: fd, stat: statOf(&st)}, nil
}

// Read implements [io.Reader].
func (f *file) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			if f.read += int64(n); f.read >= f.stat.Size {
				return n, io.EOF
			}
			return n, nil
		}
	}
}

// Close implements [io.Closer].
func (f *file) Close() error { return unix.Close(f.fd) }

// noBytes is an empty file.
type noBytes struct{}

func (noBytes) Read([]byte) (int, error) { return 0, io.EOF }
func (noBytes) Close() error             { return nil }
