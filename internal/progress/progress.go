package progress

import "time"

// Vertex names one line of progress. ID is unique within one command; Name is
// what people read, such as "[build 2/5] RUN make".
type Vertex struct {
	ID   string
	Name string
}

// Event is one of [Started], [Output], [Advanced], [Finished], [Warning].
type Event interface{ event() }

// Started says that work on a vertex begins.
type Started struct {
	Vertex Vertex
	Time   time.Time
}

// Stream tells a process's two outputs apart.
type Stream int

// The streams have their descriptors' numbers.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

// Output is what a vertex's process printed. Data is the sink's to keep.
type Output struct {
	Vertex Vertex
	Stream Stream
	Data   []byte
	Time   time.Time
}

// Advanced says how far a part of a vertex's work has come, in bytes. Total is
// 0 where it is not known. Part tells transfers of one vertex apart, and Verb
// is what is done, such as "extracting sha256:ab…".
type Advanced struct {
	Vertex  Vertex
	Part    string
	Current int64
	Total   int64
	Done    bool
	// Note says why a part that is done moved nothing, such as "Already exists".
	Note string
	Time time.Time
}

// Finished says that a vertex is done: answered from the cache, made, or failed
// with Err.
type Finished struct {
	Vertex Vertex
	Cached bool
	Err    error
	Time   time.Time
}

// Warning is something that the user should know at the end. Text is the full
// text with place and hint, as [builder/internal/diag.Error.Text] makes it;
// Vertex may be zero.
type Warning struct {
	Vertex Vertex
	Text   string
}

func (Started) event()  {}
func (Output) event()   {}
func (Advanced) event() {}
func (Finished) event() {}
func (Warning) event()  {}

// Sink takes events. It is called from many goroutines, returns quickly, and
// keeps the order of the calls of one goroutine.
type Sink interface {
	Progress(Event)
}

// Discard is a sink that forgets.
var Discard Sink = discard{}

type discard struct{}

func (discard) Progress(Event) {}
