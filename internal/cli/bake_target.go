package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"builder/image"
	"builder/image/store"
	"builder/internal/bake"
	"builder/internal/progress"
	"builder/internal/pull"
	"builder/planner"
)

// bakePart is one target of a bake while it is built.
type bakePart struct {
	name     string
	needs    map[string]*bakePart // by the name of the context that each is
	shared   display
	finished chan struct{}
	result   *baked
	metadata map[string]any
}

// baked is what a target has become.
type baked struct{ images []made }

// display is what shows the part's progress: that of the whole, or of a build alone.
func (p *bakePart) display(mode string, w io.Writer) display {
	if p == nil {
		return newDisplay(mode, w)
	}
	return partDisplay{p}
}

// done takes what was built.
func (p *bakePart) done(images []made, index bool, ref string, done []delivered) {
	p.result = &baked{images}
	id := ""
	if !index && len(images) == 1 {
		if got, err := image.ID(images[0].Image); err == nil {
			id = got.String()
		}
	}
	var tags []string
	for _, t := range images[0].tags {
		tags = append(tags, t.Familiar())
	}
	p.metadata = metadata(id, ref, tags, done)
}

// partDisplay gives the steps of a target its name.
type partDisplay struct{ part *bakePart }

// Progress implements progress.Sink.
func (d partDisplay) Progress(e progress.Event) {
	switch e := e.(type) {
	case progress.Started:
		e.Vertex = d.vertex(e.Vertex)
		d.part.shared.Progress(e)
	case progress.Output:
		e.Vertex = d.vertex(e.Vertex)
		d.part.shared.Progress(e)
	case progress.Advanced:
		e.Vertex = d.vertex(e.Vertex)
		d.part.shared.Progress(e)
	case progress.Finished:
		e.Vertex = d.vertex(e.Vertex)
		d.part.shared.Progress(e)
	case progress.Warning:
		e.Vertex = d.vertex(e.Vertex)
		d.part.shared.Progress(e)
	}
}

// vertex names a step as buildx does: "[app 1/2] RUN", "[app internal] load".
func (d partDisplay) vertex(v progress.Vertex) progress.Vertex {
	if v == (progress.Vertex{}) {
		return v
	}
	name := "[" + d.part.name + "] " + v.Name
	if rest, ok := strings.CutPrefix(v.Name, "["); ok {
		name = "[" + d.part.name + " " + rest
	}
	return progress.Vertex{ID: d.part.name + "/" + v.ID, Name: name}
}

// Close ends nothing: the whole goes on.
func (partDisplay) Close() error { return nil }

// bakedHost begins the references that stand for targets; RFC 2606 keeps the name from being a
// registry's.
const bakedHost = "bake-target.invalid"

// add makes targets that are built the contexts that they are for another one.
func (c *namedContexts) add(p *bakePart) {
	if p == nil {
		return
	}
	c.baked = map[string]*baked{}
	for i, name := range slices.Sorted(maps.Keys(p.needs)) {
		known, err := planner.ContextName(name)
		if err != nil {
			continue // it was refused before
		}
		ref := fmt.Sprintf("%s/%d", bakedHost, i)
		c.baked[ref] = p.needs[name].result
		c.plan[known] = planner.Named{Image: ref}
	}
}

// fromBake takes an image that another target has become into the store, without a name.
func (m *machine) fromBake(ctx context.Context, b *baked, on image.Platform) (img pull.Image, err error) {
	found := b.images[0]
	for _, candidate := range b.images {
		if image.MatchPlatform(on, candidate.platform) {
			found = candidate
			break
		}
	}
	config, err := found.Config.Encode()
	if err != nil {
		return img, err
	}
	rec := store.Record{Layers: m.sized(found.Layers), Annotations: found.Annotations, Origin: store.FromRecipe, Made: time.Now()}
	if img.Record, err = m.store.Add(ctx, rec, config); err != nil {
		return img, err
	}
	img.Digest = img.Record.ID
	img.Config, _, err = m.store.Config(ctx, img.Record.ID)
	return img, err
}

// inMemory is a file with a text that is nowhere else.
func inMemory(text string) (*os.File, error) {
	fd, err := unix.MemfdCreate("Dockerfile", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "Dockerfile")
	if _, err := f.WriteString(text); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// flags are those of a build that a target stands for, and its context. Of a target that others are made
// of and nobody asked for nothing goes out.
func (f *bakeFlags) flags(t *bake.Target, part *bakePart, call string, asked bool) (*buildFlags, string, error) {
	b := newBuildFlags()
	b.inheritLabels, b.part, b.progress = true, part, f.progress
	b.tags, b.platform = t.Tags, strings.Join(t.Platforms, ",")
	b.noCacheFilter, b.annotations, b.ulimits = t.NoCacheFilter, t.Annotations, t.Ulimits
	b.buildArgs, b.labels, b.addHosts = flagPairs(t.Args), flagPairs(t.Labels), flagPairs(t.ExtraHosts)
	b.secrets, b.ssh, b.attest = words(t.Secrets), words(t.SSH), words(t.Attest)
	b.provenance, b.sbom = f.provenance, f.sbom
	b.jobs = f.jobs
	if b.jobs == 0 {
		b.jobs = defaultJobs()
	}
	b.network = "default"
	for to, from := range map[*string]*string{&b.target: t.Target, &b.shmSize: t.ShmSize, &b.network: t.Network} {
		if from != nil && *from != "" {
			*to = *from
		}
	}
	b.call = call
	if t.NoCache != nil {
		b.noCache = *t.NoCache
	}
	if t.Pull != nil && *t.Pull {
		b.pull.value = "always"
	}
	if f.pull.value == "never" {
		b.pull.value = "never"
	}
	for _, a := range f.allow {
		if !strings.HasPrefix(a, "fs") && wants(t, a) {
			b.allow = append(b.allow, a)
		}
	}
	if len(t.CacheFrom)+len(t.CacheTo) > 0 {
		return nil, "", usage("target %s: cache-from and cache-to are not there yet", t.Name).WithHint("leave them out with --set '%s.cache-from=' --set '%s.cache-to='", t.Name, t.Name)
	}
	contextArg := local(*t.Context)
	b.file = *t.Dockerfile
	if _, _, remote, err := remoteContext(contextArg); err != nil {
		return nil, "", err
	} else if rest, ok := strings.CutPrefix(b.file, cwdScheme); ok {
		b.file = rest
	} else if !remote && contextArg != "-" && !isURL(b.file) && !filepath.IsAbs(b.file) {
		b.file = filepath.Join(contextArg, b.file)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Contexts)) {
		if part.needs[name] == nil {
			b.contexts = append(b.contexts, name+"="+local(t.Contexts[name]))
		} else if _, err := planner.ContextName(name); err != nil {
			return nil, "", usage("target %s: contexts: %v", t.Name, err)
		}
	}
	if !asked {
		b.tags, b.outputs = nil, []string{"type=cacheonly"}
		return b, contextArg, nil
	}
	b.outputs = words(t.Outputs)
	b.push, b.load = t.Push != nil && *t.Push, t.Load != nil && *t.Load
	return b, contextArg, nil
}

// cwdScheme begins a path that is seen from here, whatever the context.
const cwdScheme = "cwd://"

func local(path string) string {
	if rest, ok := strings.CutPrefix(path, cwdScheme); ok {
		if rest == "" {
			return "."
		}
		return rest
	}
	return path
}

// wants reports whether a target asks for something that has to be allowed.
func wants(t *bake.Target, allowed string) bool {
	kind, _, _ := strings.Cut(allowed, "=")
	if allowed == "network.host" && t.Network != nil && *t.Network == "host" || kind == "buildx.local.delete" {
		return true
	}
	return slices.ContainsFunc(t.Entitlements, func(e string) bool {
		of, _, _ := strings.Cut(e, "=")
		return e == allowed || of == kind
	})
}

func words(list []bake.Attrs) []string {
	var all []string
	for _, a := range list {
		all = append(all, a.String())
	}
	return all
}

// flagPairs are NAME=VALUE; NAME alone is for what the environment says.
func flagPairs(m map[string]*string) []string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if value := m[key]; value != nil {
			key += "=" + *value
		}
		all = append(all, key)
	}
	return all
}
