package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"sync"
	"time"

	"builder/internal/progress"
	"builder/parser"
)

// rawJSON writes one JSON object a line, with the field names of BuildKit's
// solve status.
type rawJSON struct {
	mu      sync.Mutex
	enc     *json.Encoder
	started map[string]time.Time
	err     error
}

type jsonStatus struct {
	Vertexes []jsonVertex  `json:"vertexes,omitempty"`
	Statuses []jsonPart    `json:"statuses,omitempty"`
	Logs     []jsonLog     `json:"logs,omitempty"`
	Warnings []jsonWarning `json:"warnings,omitempty"`
}

type jsonVertex struct {
	Digest    string     `json:"digest"`
	Name      string     `json:"name"`
	Started   *time.Time `json:"started,omitempty"`
	Completed *time.Time `json:"completed,omitempty"`
	Cached    bool       `json:"cached,omitempty"`
	Error     string     `json:"error,omitempty"`
}

type jsonPart struct {
	ID        string     `json:"id"`
	Vertex    string     `json:"vertex"`
	Current   int64      `json:"current"`
	Total     int64      `json:"total,omitempty"`
	Timestamp time.Time  `json:"timestamp"`
	Completed *time.Time `json:"completed,omitempty"`
}

type jsonLog struct {
	Vertex    string    `json:"vertex"`
	Stream    int       `json:"stream"`
	Data      []byte    `json:"data"`
	Timestamp time.Time `json:"timestamp"`
}

type jsonWarning struct {
	Vertex string      `json:"vertex,omitempty"`
	Level  int         `json:"level"`
	Short  []byte      `json:"short"`
	Detail [][]byte    `json:"detail,omitempty"`
	URL    string      `json:"url,omitempty"`
	Source *jsonSource `json:"sourceInfo,omitempty"`
	Range  []lintRange `json:"range,omitempty"`
}

type jsonSource struct {
	Name     string `json:"filename"`
	Data     []byte `json:"data"`
	Language string `json:"language"`
}

func newRawJSON(w io.Writer) *rawJSON {
	return &rawJSON{enc: json.NewEncoder(w), started: map[string]time.Time{}}
}

// Progress implements progress.Sink.
func (j *rawJSON) Progress(e progress.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var s jsonStatus
	switch e := e.(type) {
	case progress.Started:
		j.started[e.Vertex.ID] = e.Time
		s.Vertexes = []jsonVertex{{Digest: vertexDigest(e.Vertex), Name: e.Vertex.Name, Started: &e.Time}}
	case progress.Finished:
		v := jsonVertex{Digest: vertexDigest(e.Vertex), Name: e.Vertex.Name, Completed: &e.Time, Cached: e.Cached}
		if at, ok := j.started[e.Vertex.ID]; ok {
			v.Started = &at
		}
		if e.Err != nil {
			v.Error = e.Err.Error()
		}
		s.Vertexes = []jsonVertex{v}
	case progress.Output:
		s.Logs = []jsonLog{{Vertex: vertexDigest(e.Vertex), Stream: int(e.Stream), Data: e.Data, Timestamp: e.Time}}
	case progress.Advanced:
		part := jsonPart{ID: e.Part, Vertex: vertexDigest(e.Vertex), Current: e.Current, Total: e.Total, Timestamp: e.Time}
		if e.Done {
			part.Completed = &e.Time
		}
		s.Statuses = []jsonPart{part}
	case progress.Warning:
		w := jsonWarning{Level: 1, Short: []byte(e.Text)}
		if e.Vertex.ID != "" {
			w.Vertex = vertexDigest(e.Vertex)
		}
		s.Warnings = []jsonWarning{w}
	}
	if j.err == nil {
		j.err = j.enc.Encode(s)
	}
}

// check writes what a rule has to say of the recipe that v has read.
func (j *rawJSON) check(v progress.Vertex, w parser.Warning) {
	j.mu.Lock()
	defer j.mu.Unlock()
	warning := jsonWarning{Vertex: vertexDigest(v), Level: 1, Short: []byte(w.String()), Detail: [][]byte{[]byte(w.Description)}, URL: w.URL, Range: linesOf(w.Span)}
	if f := w.Span.File; f != nil {
		warning.Source = &jsonSource{f.Name, []byte(f.Text), "Dockerfile"}
	}
	if j.err == nil {
		j.err = j.enc.Encode(jsonStatus{Warnings: []jsonWarning{warning}})
	}
}

// Close implements display.
func (j *rawJSON) Close() error { return j.err }

func vertexDigest(v progress.Vertex) string {
	sum := sha256.Sum256([]byte(v.ID))
	return "sha256:" + hex.EncodeToString(sum[:])
}
