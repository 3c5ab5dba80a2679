package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"builder"
	"builder/image"
	"builder/image/registry"
	"builder/internal/diag"
	"builder/internal/history"
	"builder/internal/progress"
	"builder/parser"
	"builder/planner"
)

// maxOutput bounds how much of what steps print a record keeps.
const maxOutput = 4 << 20

// recorder is a display that remembers what it shows, for the record of the build.
// Nothing is written before [recorder.end].
type recorder struct {
	display
	m      *machine
	flags  *buildFlags
	record history.Record
	where  string // the build context as it was typed
	args   map[string]string
	off    bool // this is no build

	mu       sync.Mutex
	raw      *rawJSON // writes to log
	log      bytes.Buffer
	printed  int            // bytes of output in log
	vertices map[string]int // places in record.Vertices, by ID
}

// recorded makes what happens on a display the record of a build of where.
func (m *machine) recorded(d display, f *buildFlags, call call, where string) *recorder {
	r := &recorder{display: d, m: m, flags: f, where: where, off: call.name != "build", vertices: map[string]int{}}
	r.raw = newRawJSON(&r.log)
	r.record.Ref = strings.ToLower(rand.Text())[:25]
	r.record.StartedAt = time.Now().Round(0).UTC()
	return r
}

// Progress implements progress.Sink.
func (r *recorder) Progress(e progress.Event) {
	r.display.Progress(e)
	if !r.off {
		r.note(e)
	}
}

func (r *recorder) note(e progress.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := e.(type) {
	case progress.Started:
		if v := r.vertex(e.Vertex, e.Time); !v.Completed.IsZero() {
			*v = history.Vertex{Name: v.Name, Step: v.Step, Started: v.Started} // it begins again
		}
	case progress.Finished:
		v := r.vertex(e.Vertex, e.Time)
		v.Completed, v.Cached = e.Time.Round(0).UTC(), e.Cached
		if e.Err != nil {
			v.Error = firstLine(e.Err)
		}
	case progress.Output:
		// The first word over the bound is that there is more.
		if r.printed > maxOutput {
			return
		}
		if r.printed += len(e.Data); r.printed > maxOutput {
			e.Data = []byte("[output of steps is left out of the record from here on]\n")
		}
		r.raw.Progress(e)
		return
	case progress.Advanced:
		if !e.Done {
			return
		}
	case progress.Warning:
		r.record.Warnings = append(r.record.Warnings, e.Text)
	}
	r.raw.Progress(e)
}

// vertex returns the vertex, which begins at the time where it is new.
func (r *recorder) vertex(v progress.Vertex, at time.Time) *history.Vertex {
	i, ok := r.vertices[v.ID]
	if !ok {
		i = len(r.record.Vertices)
		r.vertices[v.ID] = i
		r.record.Vertices = append(r.record.Vertices, history.Vertex{Name: v.Name, Step: strings.HasPrefix(v.ID, "step "), Started: at.Round(0).UTC()})
	}
	return &r.record.Vertices[i]
}

// checks notes what the rules have to say of the recipe that v has read, and
// passes it on.
func (r *recorder) checks(v progress.Vertex, to func(parser.Warning)) func(parser.Warning) {
	return func(w parser.Warning) {
		to(w)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.record.Warnings = append(r.record.Warnings, w.String()+"\n"+w.Span.Excerpt())
		r.raw.check(v, w)
	}
}

// reads says what the build is made from.
func (r *recorder) reads(in *input, args map[string]string, platforms []image.Platform) {
	r.args = args
	r.record.Dockerfile = planner.Redact(in.recipe.Name)
	for _, p := range platforms {
		r.record.Platform = append(r.record.Platform, image.FormatPlatform(p))
	}
}

// materials returns a resolver whose answers are materials of the build.
func (r *recorder) materials(to builder.Resolver) builder.Resolver { return notingResolver{to, r} }

type notingResolver struct {
	builder.Resolver
	r *recorder
}

// Resolve implements builder.Resolver.
func (n notingResolver) Resolve(ctx context.Context, w planner.Wanted) (planner.Pin, error) {
	pin, err := n.Resolver.Resolve(ctx, w)
	if err == nil && w.Reference.String() != "" {
		n.r.mu.Lock()
		defer n.r.mu.Unlock()
		m := history.Material{URI: "pkg:docker/" + strings.TrimPrefix(w.Reference.Familiar(), "/")}
		if p := image.FormatPlatform(w.Platform); w.Platform.OS != "" {
			m.URI += "?platform=" + strings.ReplaceAll(p, "/", "%2F")
		}
		if pin.Digest != "" {
			m.Digests = []image.Digest{pin.Digest}
		}
		if !slices.ContainsFunc(n.r.record.Materials, func(have history.Material) bool { return have.URI == m.URI }) {
			n.r.record.Materials = append(n.r.record.Materials, m)
		}
	}
	return pin, err
}

// made says what the build has made.
func (r *recorder) made(list []made) {
	for _, img := range list {
		kept := history.Image{Platform: image.FormatPlatform(img.platform)}
		if id, err := image.ID(img.Image); err == nil {
			kept.ID = id
		}
		for _, tag := range img.tags {
			kept.Names = append(kept.Names, tag.Familiar())
		}
		r.record.Images = append(r.record.Images, kept)
	}
}

// end writes the record of a build that ended with err. That one cannot be
// written is no reason for a build to fail.
func (r *recorder) end(ctx context.Context, err error) {
	if r.off {
		return
	}
	limits, cerr := historyLimits()
	if cerr == nil && limits.Records == 0 {
		return
	}
	if cerr == nil {
		r.finish(ctx, err)
		cerr = r.m.history().Put(&r.record, r.log.Bytes(), limits)
	}
	if cerr != nil {
		fmt.Fprintf(r.m.err, "warning: there is no record of this build: %v\n", cerr)
	}
}

// finish fills in what is known at the end.
func (r *recorder) finish(ctx context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, f := &r.record, r.flags
	c.Version, c.Status, c.Target = history.Version, history.Completed, f.target
	c.CompletedAt = time.Now().Round(0).UTC()
	c.Duration = c.CompletedAt.Sub(c.StartedAt)
	if err != nil {
		c.Status, c.Error = history.Failed, &history.Failure{Message: strings.TrimRight(diag.Text(err), "\n")}
		if ctx.Err() != nil {
			c.Status, c.Error.Message = history.Canceled, "interrupted"
		}
	}
	slices.SortStableFunc(c.Materials, func(a, b history.Material) int { return strings.Compare(a.URI, b.URI) })
	for _, v := range c.Vertices {
		if err != nil && v.Error != "" && c.Error.Name == "" {
			c.Error.Name = v.Name
		}
		if !v.Step {
			continue
		}
		c.NumTotalSteps++
		if !v.Completed.IsZero() && v.Error == "" {
			c.NumCompletedSteps++
		}
		if v.Cached {
			c.NumCachedSteps++
		}
	}
	r.describe()
}

// describe says what was asked for.
func (r *recorder) describe() {
	c, f := &r.record, r.flags
	repository := ""
	switch {
	case isElsewhere(r.where):
		c.Context = planner.Redact(r.where)
	default:
		c.Context = r.where
		if abs, err := filepath.Abs(r.where); err == nil {
			c.Context = abs
		}
		vcs := findRepository(c.Context)
		repository, c.VCSRepository, c.VCSRevision = vcs.root, planner.Redact(vcs.remote), vcs.revision
	}
	for _, name := range slices.Sorted(maps.Keys(r.args)) {
		c.BuildArgs = append(c.BuildArgs, history.Pair{Name: name, Value: shownValue(name, r.args[name])})
	}
	c.Labels, c.NamedContexts = typedPairs(f.labels), typedPairs(f.contexts)
	c.Outputs = append(c.Outputs, f.outputs...)
	c.Name = r.args["BUILDKIT_BUILD_NAME"]
	if c.Name == "" {
		c.Name = buildName(c, repository)
	}
}

// isElsewhere reports whether a context is no directory here.
func isElsewhere(where string) bool {
	_, _, remote, err := remoteContext(where)
	return remote || err != nil || where == "-"
}

// withheld stands for a value that is not written down.
const withheld = "********"

// shownValue is the value of a build argument without what it has of secrets. A
// proxy may be named without a scheme.
func shownValue(name, value string) string {
	if planner.SaysSecret(name) {
		return withheld
	}
	if at := strings.LastIndexByte(value, '@'); at >= 0 && strings.HasSuffix(strings.ToLower(name), "_proxy") && !strings.Contains(value, "://") {
		return value[at+1:]
	}
	return planner.Redact(value)
}

// typedPairs are NAME=VALUE as they were typed.
func typedPairs(words []string) (list []history.Pair) {
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		list = append(list, history.Pair{Name: name, Value: planner.Redact(value)})
	}
	return list
}

// buildName is the context below its repository, the recipe if it has another
// name than usual, and the target.
func buildName(c *history.Record, repository string) string {
	name := c.Context
	switch {
	case isElsewhere(name):
		name = strings.TrimSuffix(name[strings.LastIndexByte(strings.TrimRight(name, "/"), '/')+1:], ".git")
	case repository != "":
		if below, err := filepath.Rel(filepath.Dir(repository), name); err == nil {
			name = below
		}
	default:
		name = filepath.Base(name)
	}
	if recipe := filepath.Base(c.Dockerfile); recipe != "Dockerfile" && recipe != "." && recipe != "-" {
		name += "/" + recipe
	}
	if c.Target != "" {
		name += " (" + c.Target + ")"
	}
	return name
}

// history is the store of records of builds.
func (m *machine) history() *history.Store { return history.New(m.path("history"), m.lease.Dir()) }

// The bounds of records where builder.toml has none.
const (
	keptRecords = 50
	keptBytes   = 50 << 20
)

// historyLimits reads the table [history] of builder.toml. No record stays where it
// keeps 0.
func historyLimits() (history.Limits, error) {
	limits := history.Limits{Records: keptRecords, Bytes: keptBytes}
	config, err := registry.ReadConfig(os.Getenv)
	if err != nil {
		return limits, err
	}
	if keep := config.History.Keep; keep != nil {
		if limits.Records = *keep; *keep < 0 {
			return limits, usage("history.keep: %d is less than none", *keep)
		}
	}
	if text := config.History.MaxSize; text != "" {
		if limits.Bytes, err = parseBytes("history.max-size", text); err == nil && limits.Bytes < 1 {
			err = usage("history.max-size: %q keeps nothing", text).WithHint("keep = 0 keeps no records")
		}
	}
	return limits, err
}

// buildRef is a reference in the form of buildx, with the builder and the node in
// front; there is one of each.
func buildRef(ref string) string { return "default/default/" + ref }
