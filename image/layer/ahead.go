package layer

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

const (
	// aheadBlock is how much is handed over at a time.
	aheadBlock = 128 << 10
	// aheadBlocks is how many blocks each reader may have filled.
	aheadBlocks = 2
	// aheadFiles is how many files make a batch at most.
	aheadFiles = 256
	// maxReaders is how many read at a time. Who takes the bytes has to keep up.
	maxReaders = 4
)

// errNoMore ends a readAhead.
var errNoMore = errors.New("no more files to read")

// readAhead reads the files of an index before they are asked for. A few
// goroutines read and verify, each a batch of neighbouring files at a time; one
// takes the bytes, in the order of the index. How much is in memory does not
// depend on the files.
type readAhead struct {
	ix   *Index
	src  Source
	time func(*Entry) (*int64, error)

	ctx     context.Context // of the call that takes the files; it ends when that does
	stop    context.CancelFunc
	readers sync.WaitGroup

	batches *batches
	claim   sync.Mutex
	done    bool              // there are no more batches
	order   chan (chan block) // the batches, each as the blocks of it; nil before start

	batch chan block // the batch that is being taken
	block block      // and what is left of its block
}

// block is a part of the bytes of a batch, or what ended it before its time.
type block struct {
	data []byte
	buf  []byte        // of which data is a part
	free chan<- []byte // where that goes when data is used up
	err  error
}

// newReadAhead returns what reads the files of ix, from the first one that is
// asked for. time says what the header of a compiled Python file gets. Close it.
func newReadAhead(ctx context.Context, ix *Index, src Source, time func(*Entry) (*int64, error)) *readAhead {
	r := &readAhead{ix: ix, src: src, time: time, batches: &batches{ix: ix}}
	r.ctx, r.stop = context.WithCancel(ctx)
	return r
}

// start begins to read.
func (r *readAhead) start() {
	n := readers(r.src)
	r.order = make(chan (chan block), n)
	for range n {
		r.readers.Go(r.read)
	}
}

// close stops the reading.
func (r *readAhead) close() {
	r.stop()
	r.readers.Wait()
}

// readers is how many goroutines may read from a source at a time.
func readers(src Source) int {
	if _, ok := src.(Sequential); ok {
		return 1
	}
	return min(runtime.GOMAXPROCS(0), maxReaders)
}

// batches divides the entries of an index. It can be used by many goroutines.
type batches struct {
	ix *Index
	mu sync.Mutex
	at int // the first entry that is in no batch yet
}

// next returns the range of the next entries whose files fit into a block
// together, or of which one is larger. It is empty where there are no more.
func (b *batches) next() (from, to int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	from = b.at
	size, files := int64(0), 0
	for ; b.at < len(b.ix.Entries); b.at++ {
		e := &b.ix.Entries[b.at]
		if e.Type != File {
			continue
		}
		if files == aheadFiles || files > 0 && e.Size > aheadBlock-size {
			break
		}
		size += e.Size
		files++
	}
	return from, b.at
}

// hasBytes reports whether there is something to read of an entry. That it is
// really empty need not be seen of an empty file.
func hasBytes(e *Entry) bool { return e.Type == File && (e.Size != 0 || e.Digest != emptyDigest) }

// copy puts the bytes of e, the next file in order, into w.
func (r *readAhead) copy(w window, e *Entry) error {
	if r.order == nil {
		r.start()
	}
	for left := e.Size; left > 0; {
		if len(r.block.data) == 0 {
			if err := r.next(); err != nil {
				return err
			}
		}
		n := min(int64(len(r.block.data)), left)
		if err := put(w, r.block.data[:n]); err != nil {
			return err
		}
		r.block.data = r.block.data[n:]
		left -= n
	}
	return nil
}

// finish reports, after the last file, whether all of them were read to their end.
func (r *readAhead) finish() error {
	if r.order == nil {
		return nil
	}
	err := r.next()
	if errors.Is(err, errNoMore) {
		return nil
	}
	return err
}

// next receives a block.
func (r *readAhead) next() error {
	if r.block.free != nil {
		r.block.free <- r.block.buf
		r.block = block{}
	}
	for {
		if r.batch == nil {
			select {
			case batch, ok := <-r.order:
				if !ok {
					return errNoMore
				}
				r.batch = batch
			case <-r.ctx.Done():
				return context.Cause(r.ctx)
			}
		}
		select {
		case b, ok := <-r.batch:
			if ok {
				r.block = b
				return b.err
			}
			r.batch = nil
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
}

// read reads batches until there are no more.
func (r *readAhead) read() {
	files := newCopier(r.src)
	w := &blockWriter{ctx: r.ctx, free: make(chan []byte, aheadBlocks)}
	for range aheadBlocks {
		w.free <- nil
	}
	for {
		from, to, ok := r.take(w)
		if !ok {
			return
		}
		err := r.fill(files, w, from, to)
		if err != nil {
			w.out <- block{err: err}
		}
		close(w.out)
		if err != nil {
			return
		}
	}
}

// take claims the next batch.
func (r *readAhead) take(w *blockWriter) (from, to int, ok bool) {
	r.claim.Lock()
	defer r.claim.Unlock()
	if r.done {
		return 0, 0, false
	}
	if from, to = r.batches.next(); from == to {
		r.done = true
		close(r.order)
		return 0, 0, false
	}
	w.out = make(chan block, aheadBlocks+1) // nobody waits for room in it
	select {
	case r.order <- w.out:
		return from, to, true
	case <-r.ctx.Done():
		r.done = true
		return 0, 0, false
	}
}

// fill reads one batch.
func (r *readAhead) fill(files *copier, w *blockWriter, from, to int) error {
	for i := from; i < to; i++ {
		e := &r.ix.Entries[i]
		if !hasBytes(e) {
			continue
		}
		time, err := r.time(e)
		if err != nil {
			return err
		}
		if err := files.copy(r.ctx, w, e, time); err != nil {
			return err
		}
	}
	return w.flush()
}

// blockWriter is the window that a reader copies into.
type blockWriter struct {
	ctx  context.Context
	free chan []byte
	out  chan block
	buf  []byte
	n    int
}

// space implements window.
func (w *blockWriter) space() ([]byte, error) {
	if w.buf != nil && w.n == len(w.buf) {
		if err := w.flush(); err != nil {
			return nil, err
		}
	}
	if w.buf == nil {
		select {
		case w.buf = <-w.free:
		case <-w.ctx.Done():
			return nil, context.Cause(w.ctx)
		}
		if w.buf == nil {
			w.buf = make([]byte, aheadBlock)
		}
	}
	return w.buf[w.n:], nil
}

// advance implements window.
func (w *blockWriter) advance(n int) error {
	w.n += n
	return nil
}

func (w *blockWriter) flush() error {
	if w.n > 0 {
		w.out <- block{data: w.buf[:w.n], buf: w.buf, free: w.free}
		w.buf, w.n = nil, 0
	}
	return nil
}
