package history

import (
	"time"

	"builder/image"
)

// Version is that of the record's form.
const Version = 1

// Status is how a build ended.
type Status string

// A build that runs has no record yet.
const (
	Completed Status = "Completed"
	Failed    Status = "Error"
	Canceled  Status = "Canceled"
)

// Record is one build. The names of its fields are those of buildx's, where
// buildx has them; they are the record's form on disk as well.
type Record struct {
	Version int
	Ref     string // random: [a-z2-7], 25 of them
	Name    string // what a list shows
	Status  Status

	Context       string   `json:",omitempty"`
	Dockerfile    string   `json:",omitempty"`
	VCSRepository string   `json:",omitempty"` // where the context's repository is from
	VCSRevision   string   `json:",omitempty"` // its commit
	Target        string   `json:",omitempty"`
	Platform      []string `json:",omitempty"`
	NamedContexts []Pair   `json:",omitempty"`
	BuildArgs     []Pair   `json:",omitempty"`
	Labels        []Pair   `json:",omitempty"`
	Outputs       []string `json:",omitempty"`

	StartedAt, CompletedAt time.Time
	Duration               time.Duration

	// Steps counted: those that began, and of these what ended well, and what
	// was answered from the cache.
	NumTotalSteps, NumCompletedSteps, NumCachedSteps int

	Images    []Image    `json:",omitempty"`
	Materials []Material `json:",omitempty"`
	Warnings  []string   `json:",omitempty"`
	Error     *Failure   `json:",omitempty"`
	// Vertices is all that progress showed, in the order in which it began.
	Vertices []Vertex `json:",omitempty"`
	// Imported says that the record came from elsewhere.
	Imported bool `json:",omitempty"`
}

// Pair is a name and its value.
type Pair struct{ Name, Value string }

// Image is what a build made for one platform.
type Image struct {
	Platform string       `json:",omitempty"`
	ID       image.Digest `json:",omitempty"` // of the config
	Names    []string     `json:",omitempty"`
}

// Material is what a build was made from.
type Material struct {
	URI     string
	Digests []image.Digest `json:",omitempty"`
}

// Failure is what ended a build.
type Failure struct {
	Message string // as it was shown, with the lines of the recipe
	Name    string `json:",omitempty"` // of the step
}

// Vertex is one line of progress. Step tells steps of the recipe from what is
// done around them.
type Vertex struct {
	Name      string
	Step      bool `json:",omitempty"`
	Started   time.Time
	Completed time.Time // zero if it never ended
	Cached    bool      `json:",omitempty"`
	Error     string    `json:",omitempty"`
}

// Took is how long the vertex was at work.
func (v Vertex) Took() time.Duration {
	if v.Completed.Before(v.Started) {
		return 0
	}
	return v.Completed.Sub(v.Started)
}

// valid reports whether a record is one that this package can name and keep.
func (r *Record) valid() bool {
	if r.Version != Version || len(r.Ref) < 8 || len(r.Ref) > 64 || r.StartedAt.Unix() < 0 || r.StartedAt.Year() > 2200 {
		return false
	}
	for _, c := range r.Ref {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return r.Status == Completed || r.Status == Failed || r.Status == Canceled
}
