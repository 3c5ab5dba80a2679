package planner

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"builder/image"
	"builder/internal/diag"
	"builder/parser"
)

// Options are what a build is asked for besides its recipe. The zero value is
// a build of the last stage for the platform of the builder.
type Options struct {
	Target    string // a stage's name; empty is the last one
	BuildArgs map[string]string
	Labels    map[string]string // added to the image's, last
	// UnsetEnv and UnsetLabels are names that the image is not to have, wherever they
	// are from; OwnLabels lets it have none of its base.
	UnsetEnv, UnsetLabels []string
	OwnLabels             bool
	// Platform is what the image is to run on. Zero asks for nothing: then it is
	// BuildPlatform, and the image says the platform that its base says.
	Platform      image.Platform
	BuildPlatform image.Platform // where steps run; zero is this machine's
	// ShowPlatform puts the platform into the names of steps, for builds of several.
	ShowPlatform bool

	NoCache       bool
	NoCacheFilter []string // stages whose steps run even if they are cached

	Network  Network
	Proxied  bool // every RUN that has a network has it through the build's own proxy
	Allow    Allowed
	Devices  []Device // of this machine, sorted by name
	Hosts    []Host
	Hostname string // empty is the sandbox's default
	ShmSize  int64  // bytes; 0 is the default
	Ulimits  []Ulimit
	Limits   Limits
	Volumes  []Volume // shown to every RUN

	Ignore []string // of the build context
	// ContextTime is when the context is from, in seconds: that of its commit or of
	// its file; nil where nobody says. It is what "context" as SOURCE_DATE_EPOCH means.
	ContextTime *int64

	// CheckOnly plans for what checks find: all stages, unless a target is named.
	CheckOnly bool
	// Unresolved says that names which are not in the pins cannot be had: nothing is
	// made, and checks find what there is to find without them.
	Unresolved bool
	// Warn is told what checks find, in the order of the planning, when all names
	// are known or a fault ends it; it may be nil.
	Warn func(parser.Warning)

	// Contexts are the named contexts, by [ContextName]; after "::" a name can have
	// the platform that it is for.
	Contexts map[string]Named
}

// Allowed is what recipes may ask for beyond what is safe.
type Allowed struct {
	HostNetwork bool // RUN --network=host
	Insecure    bool // RUN --security=insecure
	AllDevices  bool // RUN --device of any
	Devices     []string
}

// Name is an image as a recipe asks for it: a reference in full form and a platform.
type Name struct {
	Reference image.Reference
	Platform  string // as os[(version)]/architecture[/variant]
}

// Pin is what a name stands for.
type Pin struct {
	// Digest is the manifest's, or the index's where the name has one. It becomes
	// part of the reference.
	Digest image.Digest
	Config image.Config
}

// Pins are the names resolved so far.
type Pins map[Name]Pin

// Wanted is a name that planning needs to know about.
type Wanted struct {
	Name
	Platform image.Platform
	Span     diag.Span // where the recipe asks for it
	// Near is a stage of the recipe whose name is much like it; usually empty. A
	// name that nobody knows may be a misspelt stage.
	Near string
}

// Plan returns the graph that makes the target of the recipe. Where names are
// not in pins it returns no graph but those names, in the order of the text,
// each once. A fault in the recipe is a [diag.Error] with its place.
func Plan(r *parser.Recipe, o Options, pins Pins) (graph *Graph, wanted []Wanted, err error) {
	p, err := newPlan(r, o, pins)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err == nil && len(wanted) > 0 && !p.Unresolved {
			return
		}
		if cerr := p.tell(); err == nil && cerr != nil && !p.CheckOnly {
			graph, err = nil, cerr
		}
	}()
	p.checkDefaults()
	if err := p.begin(); err != nil {
		return nil, nil, err
	}
	target, err := p.target()
	if err != nil {
		return nil, nil, err
	}
	if err := p.link(); err != nil {
		return nil, nil, err
	}
	reached, err := p.resolve(target)
	if err != nil {
		return nil, nil, err
	}
	if len(p.wanted) > 0 {
		return nil, p.wanted, nil
	}
	for _, s := range p.stages {
		if !reached[s] || s.done {
			continue
		}
		if err := p.run(s); err != nil {
			return nil, nil, err
		}
	}
	return p.graph(target), nil, nil
}

// plan is one planning.
type plan struct {
	Options
	recipe *parser.Recipe
	pins   Pins
	build  image.Platform // where steps run
	goal   image.Platform // what the image is for
	asked  bool           // for goal, by name
	lex    *shell.Lex
	global env // ARGs before the first FROM, and the platforms
	proxy  []string
	epoch  *time.Time
	// cacheNamespace keeps the caches that RUN mounts from those of the same name of
	// other builds.
	cacheNamespace string

	checks parser.Checks
	report parser.Report
	takes  takes  // of the ARGs before the first FROM
	doing  *doing // the instruction that is being planned; nil between them

	stages  []*stage
	byName  map[string]*stage
	context StepRef
	steps   []Step
	known   map[ID]StepRef
	wanted  []Wanted
}

func newPlan(r *parser.Recipe, o Options, pins Pins) (*plan, error) {
	p := &plan{
		Options: o, recipe: r, pins: pins, build: o.BuildPlatform, goal: o.Platform, asked: o.Platform.OS != "",
		lex: shell.NewLex(r.Escape), byName: map[string]*stage{}, context: None, known: map[ID]StepRef{}, takes: newTakes(),
	}
	p.BuildArgs = maps.Clone(o.BuildArgs)
	if p.build.OS == "" {
		p.build = platforms.Normalize(platforms.DefaultSpec())
	}
	if !p.asked {
		p.goal = p.build
	}
	if name := p.BuildArgs["BUILDKIT_SANDBOX_HOSTNAME"]; name != "" {
		p.Hostname = name
	}
	if len(r.Stages) == 0 {
		return nil, diag.Errorf(diag.Span{File: r.File}, "dockerfile contains no stages to build")
	}
	if err := p.chooseChecks(); err != nil {
		return nil, err
	}
	p.proxy = proxyEnv(p.BuildArgs)
	p.cacheNamespace = p.BuildArgs["BUILDKIT_CACHE_MOUNT_NS"]
	return p, nil
}

// sourceDate takes SOURCE_DATE_EPOCH from the build arguments. BuildKit hands
// the number on in its normal form.
func (p *plan) sourceDate() error {
	const name = "SOURCE_DATE_EPOCH"
	value, given := p.BuildArgs[name]
	if !given {
		if value, _ = p.global.Get(name); value == "" {
			return nil // an ARG that says nothing
		}
	}
	if value == "context" {
		value = ""
		if p.ContextTime != nil {
			value = strconv.FormatInt(*p.ContextTime, 10)
		}
	}
	if value == "" {
		delete(p.BuildArgs, name)
		p.global.remove(name)
		return nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return diag.Errorf(diag.Span{}, "invalid SOURCE_DATE_EPOCH: %s", value).
			WithHint("give seconds since 1970, or context; the time of a named context or of a stage's source is not supported yet")
	}
	epoch := time.Unix(seconds, 0).UTC()
	p.epoch, value = &epoch, strconv.FormatInt(seconds, 10)
	if given {
		p.BuildArgs[name] = value
	}
	if _, ok := p.global.Get(name); ok {
		p.global.set(name, value)
	}
	return nil
}

// begin evaluates what stands before the first FROM, and makes the stages.
func (p *plan) begin() error {
	if err := p.globals(); err != nil {
		return err
	}
	if err := p.sourceDate(); err != nil {
		return err
	}
	return p.open()
}

// graph returns what the target needs and its result.
func (p *plan) graph(target *stage) *Graph {
	root, steps := prune(p.steps, target.root)
	config := target.config
	p.unset(&config)
	if len(p.Labels) > 0 {
		config.Config.Labels = maps.Clone(config.Config.Labels)
		if config.Config.Labels == nil {
			config.Config.Labels = map[string]string{}
		}
		maps.Copy(config.Config.Labels, p.Labels)
	}
	p.setPlatform(&config)
	config.History = complete(config.History, target.layers)
	g := &Graph{Outline: p.outline(target), Steps: steps, Result: Result{Root: root, Config: config, BaseHistory: target.history, Epoch: p.epoch}}
	if target.created != nil {
		g.Result.Base = *target.created
	}
	return g
}

// unset takes away what the image is not to have.
func (p *plan) unset(c *image.Config) {
	c.Config.Env = slices.DeleteFunc(slices.Clone(c.Config.Env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(p.UnsetEnv, name)
	})
	if len(p.UnsetLabels) == 0 {
		return
	}
	c.Config.Labels = maps.Clone(c.Config.Labels)
	for _, name := range p.UnsetLabels {
		delete(c.Config.Labels, name)
	}
}

// setPlatform writes the platform into the result's config, if one was asked for.
func (p *plan) setPlatform(c *image.Config) {
	at := c.Platform()
	if p.asked {
		same := p.goal.OS == at.OS && p.goal.Architecture == at.Architecture
		at.OS, at.Architecture = p.goal.OS, p.goal.Architecture
		if p.goal.Variant != "" || !same {
			at.Variant = p.goal.Variant
		}
		if p.goal.OSVersion != "" || !same {
			at.OSVersion = p.goal.OSVersion
		}
		if p.goal.OSFeatures != nil {
			at.OSFeatures = slices.Clone(p.goal.OSFeatures)
		}
	}
	at = platforms.Normalize(at)
	c.OS, c.Architecture, c.Variant = at.OS, at.Architecture, at.Variant
	c.OSVersion, c.OSFeatures = at.OSVersion, at.OSFeatures
}

// prune keeps the steps that root needs.
func prune(steps []Step, root StepRef) (StepRef, []Step) {
	needed := make([]bool, len(steps))
	for i := int(root); i >= 0; i-- {
		needed[i] = needed[i] || i == int(root)
		if !needed[i] {
			continue
		}
		for _, in := range steps[i].Inputs {
			if in != None {
				needed[in] = true
			}
		}
	}
	moved := make([]StepRef, len(steps))
	var kept []Step
	for i, s := range steps {
		if !needed[i] {
			continue
		}
		moved[i] = StepRef(len(kept))
		s.Inputs = slices.Clone(s.Inputs)
		for n, in := range s.Inputs {
			if in != None {
				s.Inputs[n] = moved[in]
			}
		}
		kept = append(kept, s)
	}
	if root == None {
		return None, nil
	}
	return moved[root], kept
}
