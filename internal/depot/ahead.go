package depot

import (
	"io"
	"sync"
)

const (
	aheadBlock  = 128 << 10
	aheadBlocks = 4
)

// aheadReader reads ahead of whoever reads from it, so that making the bytes and
// using them take place at the same time.
type aheadReader struct {
	full chan block
	free chan []byte
	stop chan struct{}
	work sync.WaitGroup
	now  block
	left []byte // of now.buf
}

// block is some bytes, and what came after them.
type block struct {
	buf []byte
	n   int
	err error
}

// readAhead begins to read r. It is r's only reader until it is closed.
func readAhead(r io.Reader) *aheadReader {
	a := &aheadReader{full: make(chan block, aheadBlocks), free: make(chan []byte, aheadBlocks), stop: make(chan struct{})}
	for range aheadBlocks {
		a.free <- nil
	}
	a.work.Go(func() { a.fill(r) })
	return a
}

func (a *aheadReader) fill(r io.Reader) {
	for {
		var b block
		select {
		case b.buf = <-a.free:
		case <-a.stop:
			return
		}
		if b.buf == nil {
			b.buf = make([]byte, aheadBlock)
		}
		for b.n < len(b.buf) && b.err == nil {
			var n int
			n, b.err = r.Read(b.buf[b.n:])
			b.n += n
		}
		a.full <- b
		if b.err != nil {
			return
		}
	}
}

// Read implements [io.Reader].
func (a *aheadReader) Read(p []byte) (int, error) {
	for len(a.left) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.buf != nil {
			a.free <- a.now.buf
		}
		a.now = <-a.full
		a.left = a.now.buf[:a.now.n]
	}
	n := copy(p, a.left)
	a.left = a.left[n:]
	return n, nil
}

// Close stops the reading. It does not close what was read.
func (a *aheadReader) Close() error {
	close(a.stop)
	a.work.Wait()
	return nil
}
