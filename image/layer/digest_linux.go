package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"builder/internal/sys"
)

const (
	hashers   = 2  // more do not pay: the tree was just written and is in memory
	hashBatch = 64 // files that a hasher takes at once
)

// digest fills in the digests of the files. Of a file with several names one is
// read.
func (s *scanner) digest(ctx context.Context) error {
	var jobs []*change
	twins := map[inode]*change{}
	for _, c := range s.list {
		if c.entry.Type != File {
			continue
		}
		if c.id != (inode{}) {
			if twins[c.id] != nil {
				continue
			}
			twins[c.id] = c
		}
		jobs = append(jobs, c)
	}
	if err := s.hash(ctx, jobs); err != nil {
		return err
	}
	for _, c := range s.list {
		if twin := twins[c.id]; twin != nil && c.entry.Type == File {
			c.entry.Digest = twin.entry.Digest
			c.maybe, c.pyc, c.stamp, c.size = twin.maybe, twin.pyc, twin.stamp, twin.size
		}
	}
	return nil
}

func (s *scanner) hash(ctx context.Context, jobs []*change) error {
	var taken atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(hashers, (len(jobs)+hashBatch-1)/hashBatch) {
		g.Go(func() (err error) {
			at, err := openCursor(s.root)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, at.close()) }()
			h := &hasher{at: at, whole: sha256.New(), buf: make([]byte, 64<<10)}
			for {
				end := int(taken.Add(hashBatch))
				for i := end - hashBatch; i < min(end, len(jobs)); i++ {
					if err := h.digest(ctx, jobs[i]); err != nil {
						return err
					}
				}
				if end >= len(jobs) {
					return nil
				}
			}
		})
	}
	return g.Wait()
}

// hasher hashes files, one at a time.
type hasher struct {
	at    *cursor
	whole hash.Hash
	buf   []byte
}

func (h *hasher) digest(ctx context.Context, c *change) (err error) {
	if c.entry.Size == 0 {
		c.entry.Digest = emptyDigest
		return nil
	}
	parent, name := split(c.entry.Path)
	dir, err := h.at.dir(parent)
	if err != nil {
		return err
	}
	f, err := dir.OpenFile(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return h.read(ctx, f, c)
}

func (h *hasher) read(ctx context.Context, f sys.File, c *change) error {
	h.whole.Reset()
	var bare hash.Hash // without the time in the header
	for done := int64(0); done < c.entry.Size; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := f.Read(h.buf)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w", c.entry.Path, ErrChanged)
		}
		if err != nil {
			return err
		}
		if done == 0 && strings.HasSuffix(c.entry.Path, ".pyc") {
			if c.stamp, c.size, c.maybe = pycStamp(h.buf[:n]); c.maybe {
				bare = sha256.New()
				head := bytes.Clone(h.buf[:pycHeader])
				setPycTime(head, 0)
				bare.Write(head)
				bare.Write(h.buf[pycHeader:n])
			}
		} else if bare != nil {
			bare.Write(h.buf[:n])
		}
		h.whole.Write(h.buf[:n])
		if done += int64(n); done > c.entry.Size {
			return fmt.Errorf("%s: %w", c.entry.Path, ErrChanged)
		}
	}
	h.whole.Sum(c.entry.Digest[:0])
	if bare != nil {
		bare.Sum(c.pyc[:0])
	}
	return nil
}
