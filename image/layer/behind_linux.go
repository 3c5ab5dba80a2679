package layer

import (
	"errors"
	"fmt"
)

const (
	behindBuffer  = 128 << 10 // contents in a batch
	behindOps     = 128       // and what is to be done
	behindBatches = 3
)

// errBehind stands for an error of something that was to be done earlier.
var errBehind = errors.New("writing has failed")

// behind does to a tree what it is told to, in order, but after it was told, so
// that whoever tells it can go on reading.
type behind struct {
	tree *treeWriter
	now  *opBatch // is being filled; nil where nothing is
	todo chan *opBatch
	free chan *opBatch
	err  error // the first one, as far as it was noticed
}

// opBatch is some things to be done and the contents that they need.
type opBatch struct {
	ops  []treeOp
	data []byte
	err  error
}

// treeOp is one thing to be done, for an entry that the tar calls name.
type treeOp struct {
	name string
	do   func(*treeWriter) error
}

// newBehind begins to work on a tree. Drain it and close it.
func newBehind(tree *treeWriter) *behind {
	b := &behind{tree: tree, todo: make(chan *opBatch, behindBatches), free: make(chan *opBatch, behindBatches)}
	for range behindBatches {
		b.free <- &opBatch{}
	}
	go b.work()
	return b
}

func (b *behind) work() {
	failed := false
	for batch := range b.todo {
		for _, op := range batch.ops {
			if failed {
				break
			}
			if err := op.do(b.tree); err != nil {
				batch.err = fmt.Errorf("%.512q: %w", op.name, err)
				failed = true
			}
		}
		b.free <- batch
	}
}

// later has something done. An error is that of something else, see drain.
func (b *behind) later(name string, do func(*treeWriter) error) error {
	if b.now == nil && !b.begin() {
		return errBehind
	}
	b.now.ops = append(b.now.ops, treeOp{name, do})
	if len(b.now.ops) >= behindOps {
		b.flush()
	}
	return nil
}

// space returns room for n bytes, which the next op may use.
func (b *behind) space(n int) ([]byte, error) {
	if b.now != nil && len(b.now.data)+n > cap(b.now.data) {
		b.flush()
	}
	if b.now == nil && !b.begin() {
		return nil, errBehind
	}
	if b.now.data == nil {
		b.now.data = make([]byte, 0, behindBuffer)
	}
	at := len(b.now.data)
	b.now.data = b.now.data[:at+n]
	return b.now.data[at : at+n : at+n], nil
}

// begin takes an empty batch, and reports whether there is use in filling it.
func (b *behind) begin() bool {
	b.now = b.take()
	return b.err == nil
}

func (b *behind) take() *opBatch {
	batch := <-b.free
	if batch.err != nil {
		b.err, batch.err = batch.err, nil
	}
	clear(batch.ops)
	batch.ops, batch.data = batch.ops[:0], batch.data[:0]
	return batch
}

func (b *behind) flush() {
	if b.now != nil {
		b.todo <- b.now
		b.now = nil
	}
}

// drain waits until all is done. Until the next call of later or space the tree
// is the caller's.
func (b *behind) drain() error {
	b.flush()
	var all [behindBatches]*opBatch
	for i := range all {
		all[i] = b.take()
	}
	for _, batch := range all {
		b.free <- batch
	}
	return b.err
}

// close ends the work. What was not waited for may not be done.
func (b *behind) close() {
	b.flush()
	close(b.todo)
	for range behindBatches {
		<-b.free
	}
}
