package planner

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"

	"builder/image"
	"builder/internal/diag"
	"builder/parser"
)

const scratch = "scratch"

// stage is a stage of the recipe, or an image that only a COPY names.
type stage struct {
	parser.Place           // of FROM, or of the COPY
	ref          string    // what it begins with
	at           diag.Span // where the recipe says that
	id           string    // its name or its number
	shown        string    // its name in the names of steps; may be empty
	loose        bool      // named by a COPY alone
	base         *stage    // nil for an image and for scratch
	commands     []command
	named, doc   string // its name in the recipe, and what a comment says of it
	takes        takes
	deps         []dependency
	noCache      bool
	hasCmd       bool // of its own

	// context is the named context that the stage is or begins with, under its name;
	// nil is none. source are its files, where it has just files.
	context     *Named
	contextName string
	source      StepRef

	resolved, triggered, done bool

	state
	cmd, entrypoint, healthcheck *parser.Place // the last of each
	steps, step                  int           // how many have a name with a number; the last number given
}

// state is what a stage hands to those that begin with it.
type state struct {
	root     StepRef
	platform image.Platform // zero is not known yet
	env      env
	dir      string // of steps, and where relative paths of COPY begin
	user     string
	config   image.Config
	args     []argument
	workdirs bool // there was a WORKDIR

	created *time.Time // of the image at the bottom
	history int        // how many entries of the config's history are that image's
	layers  []string   // what BuildKit calls each layer; see complete
}

// argument is an ARG in scope.
type argument struct {
	name  string
	value string
}

// command is an instruction of a stage with what it copies from.
type command struct {
	parser.Instruction
	from    *stage
	mounts  []*stage // what each mount of a RUN shows; nil for none
	trigger bool     // from the base's ONBUILD
}

// dependency is a stage that another copies from.
type dependency struct {
	on *stage
	at *parser.Place
}

// open makes the stages of the recipe and joins those that begin with another.
func (p *plan) open() error {
	for i, from := range p.recipe.Stages {
		s := &stage{Place: from.Place, at: from.Find(from.Base), id: from.Name, shown: from.Name, source: None, named: from.Name, doc: from.Doc, takes: p.takes.clone()}
		s.takes.use(p, from.Base, &from.Place)
		s.takes.use(p, from.Platform, &from.Place)
		s.root = None
		var err error
		p.checkArguments(from.Base, &from.Place)
		if s.ref, err = p.word(from.Base, p.global, &from.Place); err != nil {
			return err
		}
		if s.ref == "" {
			return diag.Errorf(from.Find(from.Base), "base name (%s) should not be blank", from.Base).
				WithHint("give the variable a default with ARG before the first FROM, or a value with --build-arg")
		}
		if from.Platform != "" {
			p.checkPlatformFlag(from)
			if s.platform, err = p.stagePlatform(from); err != nil {
				return err
			}
		}
		if s.id == "" {
			s.id = strconv.Itoa(i)
			s.shown = "stage-" + s.id
		}
		s.noCache = p.NoCache || slices.ContainsFunc(p.NoCacheFilter, func(n string) bool { return strings.EqualFold(n, from.Name) })
		p.add(s)
		if from.Name != "" {
			if err := p.override(s, from.Name); err != nil {
				return err
			}
		}
		if from.Name != "" {
			p.byName[from.Name] = s
		}
		whole := s.context != nil
		if s.ref != scratch && s.base == nil && !whole {
			s.steps++
		}
		if !whole && s.base == nil {
			if err := p.override(s, s.ref); err != nil {
				return err
			}
		}
		if whole {
			s.triggered = true
			continue
		}
		for _, in := range from.Instructions {
			s.commands = append(s.commands, command{Instruction: in})
			switch in.(type) {
			case *parser.Copy, *parser.Run, *parser.Workdir:
				s.steps++
			}
		}
	}
	return nil
}

// add gives a stage its number. A stage of the same name above it is its base.
func (p *plan) add(s *stage) {
	if s.base = p.byName[s.ref]; s.base != nil {
		used := s.takes.used
		s.takes = s.base.takes.clone()
		maps.Copy(s.takes.used, used)
	}
	p.stages = append(p.stages, s)
}

// stagePlatform is what FROM --platform says.
func (p *plan) stagePlatform(from *parser.Stage) (image.Platform, error) {
	text, err := p.word(from.Platform, p.global, &from.Place)
	if err != nil {
		return image.Platform{}, err
	}
	at := from.FindFlag("--platform", from.Platform)
	if text == "" {
		return image.Platform{}, diag.Errorf(at, "empty platform value from expression %s", from.Platform).
			WithHint("the variables before the first FROM are ARGs and BUILDPLATFORM, TARGETPLATFORM and their parts")
	}
	platform, err := platforms.Parse(text)
	if err != nil {
		return image.Platform{}, diag.Errorf(at, "failed to parse platform %s: %s", from.Platform, err).
			WithHint("write os/architecture[/variant], for example linux/arm64")
	}
	return platform, nil
}

// target is the stage to build.
func (p *plan) target() (*stage, error) {
	if p.Target == "" {
		return p.stages[len(p.stages)-1], nil
	}
	if s, ok := p.byName[strings.ToLower(p.Target)]; ok {
		return s, nil
	}
	err := diag.Errorf(diag.Span{}, "target stage %q could not be found", p.Target)
	if near := p.near(p.Target); near != "" {
		return nil, err.WithHint("did you mean %q?", near)
	}
	if names := p.names(); len(names) > 0 {
		return nil, err.WithHint("the stages with a name are %s", strings.Join(names, ", "))
	}
	return nil, err.WithHint("name a stage with FROM … AS %s", strings.ToLower(p.Target))
}

// names are the names of the recipe's stages, in order.
func (p *plan) names() []string {
	var names []string
	for _, s := range p.recipe.Stages {
		if s.Name != "" && !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	return names
}

// near is the stage that a name is probably a misspelling of.
func (p *plan) near(name string) string {
	return diag.Nearest(strings.ToLower(name), p.names())
}

// link finds what each COPY copies from.
func (p *plan) link() error {
	for _, s := range slices.Clone(p.stages) {
		for i := range s.commands {
			if err := p.source(s, &s.commands[i]); err != nil {
				return err
			}
		}
	}
	if err := p.circles(); err != nil {
		return err
	}
	if len(p.stages) == 1 {
		p.stages[0].shown = ""
	}
	return nil
}

// source finds the stages or images that c, an instruction of s, copies from or mounts.
func (p *plan) source(s *stage, c *command) error {
	switch in := c.Instruction.(type) {
	case *parser.Copy:
		if in.From == "" {
			return nil
		}
		return p.copySource(s, c, in)
	case *parser.Run:
		for i, from := range in.MountsFrom() {
			if from == "" {
				c.mounts = append(c.mounts, nil)
				continue
			}
			place := in.Place
			place.Span = in.MountSpan(i)
			on, err := p.fromName(from, &in.Place, place.Find(from))
			if err != nil {
				return err
			}
			c.mounts = append(c.mounts, on)
			s.deps = append(s.deps, dependency{on: on, at: &in.Place})
		}
	}
	return nil
}

// copySource finds the stage or image that a COPY copies from.
func (p *plan) copySource(s *stage, c *command, in *parser.Copy) error {
	word, err := p.word(in.From, env{}, &in.Place)
	if err != nil {
		return err
	}
	if word != in.From {
		return diag.Errorf(in.FindFlag("--from", in.From), "variable expansion is not supported for --from").
			WithHint("define a new stage with FROM using ARG from global scope as a workaround")
	}
	if number, err := strconv.Atoi(in.From); err == nil {
		if number < 0 || number >= len(p.stages) {
			return diag.Errorf(in.FindFlag("--from", in.From), "invalid stage index %d", number).WithHint("stages are counted from 0")
		}
		c.from = p.stages[number]
	} else if c.from, err = p.fromName(in.From, &in.Place, in.FindFlag("--from", in.From)); err != nil {
		return err
	}
	s.deps = append(s.deps, dependency{on: c.from, at: &in.Place})
	return nil
}

// fromName returns the stage of that name, or one for the image or the named
// context that it is.
func (p *plan) fromName(name string, place *parser.Place, at diag.Span) (*stage, error) {
	if s, ok := p.byName[strings.ToLower(name)]; ok {
		return s, nil
	}
	s := &stage{Place: *place, at: at, ref: name, id: name, loose: true, source: None, takes: newTakes()}
	s.root = None
	p.add(s)
	if err := p.override(s, name); err != nil {
		return nil, err
	}
	if s.base != nil {
		return s.base, nil // a stage by another name
	}
	return s, nil
}

// circles refuses stages that copy from each other.
func (p *plan) circles() error {
	visited, path := map[*stage]bool{}, map[*stage]bool{}
	var visit func(s *stage) *parser.Place
	visit = func(s *stage) *parser.Place {
		if visited[s] {
			return nil
		}
		visited[s], path[s] = true, true
		defer delete(path, s)
		for _, d := range s.deps {
			if path[d.on] {
				return d.at
			}
			if at := visit(d.on); at != nil {
				return at
			}
		}
		return nil
	}
	for _, s := range p.stages {
		if at := visit(s); at != nil {
			return diag.Errorf(at.Span, "circular dependency detected on stage: %s", s.shown)
		}
	}
	return nil
}

// reach returns the stages that s needs, itself among them.
func reach(s *stage) map[*stage]bool {
	reached := map[*stage]bool{}
	var visit func(*stage)
	visit = func(s *stage) {
		if s == nil || reached[s] {
			return
		}
		reached[s] = true
		visit(s.base)
		for _, d := range s.deps {
			visit(d.on)
		}
	}
	visit(s)
	return reached
}

// resolve looks up the images that the target needs and adds the triggers that
// they bring, which may need more.
func (p *plan) resolve(target *stage) (map[*stage]bool, error) {
	for {
		needed := reach(target)
		reached := maps.Clone(needed)
		if p.CheckOnly && p.Target == "" {
			for _, s := range p.stages {
				maps.Copy(reached, reach(s))
			}
		}
		for _, s := range p.stages {
			if s.base != nil || s.resolved {
				continue
			}
			if err := p.bottom(s, reached[s]); err != nil {
				return nil, err
			}
		}
		if len(p.wanted) > 0 {
			return nil, nil
		}
		more := false
		for _, s := range slices.Clone(p.stages) {
			if !needed[s] {
				continue
			}
			found, err := p.triggers(s)
			if err != nil {
				return nil, err
			}
			more = more || found
		}
		if !more {
			return reached, nil
		}
	}
}

// bottom gives a stage that begins with an image or with nothing its first state.
func (p *plan) bottom(s *stage, reached bool) error {
	if s.ref == scratch {
		s.resolved, s.done = true, s.loose
		if s.context == nil || s.platform.OS == "" {
			s.platform = p.goal
		}
		s.config = empty(s.platform)
		if s.context != nil && s.context.Files != nil {
			p.files(s)
		}
		return nil
	}
	ref, err := image.ParseReference(s.ref)
	if err != nil {
		return diag.Errorf(s.at, "%s", err)
	}
	if !reached {
		return nil
	}
	if s.platform.OS == "" {
		s.platform = p.goal
	}
	name := Name{Reference: ref, Platform: platforms.FormatAll(s.platform)}
	pin, ok := p.pins[name]
	if !ok {
		p.want(Wanted{Name: name, Platform: s.platform, Span: s.at, Near: p.near(s.ref)})
		return nil
	}
	s.resolved, s.done = true, s.loose
	return p.image(s, ref, pin)
}

// want asks for a name, once.
func (p *plan) want(w Wanted) {
	if !slices.ContainsFunc(p.wanted, func(o Wanted) bool { return o.Name == w.Name }) {
		p.wanted = append(p.wanted, w)
	}
}

// image begins a stage with an image.
func (p *plan) image(s *stage, ref image.Reference, pin Pin) error {
	s.config = clone(pin.Config)
	s.created, s.config.Created = pin.Config.Created, nil
	s.history = len(s.config.History)
	if len(pin.Config.RootFS.DiffIDs) == 0 {
		return nil
	}
	if pin.Digest != "" {
		pinned, err := ref.WithDigest(pin.Digest)
		if err != nil {
			return fmt.Errorf("pin of %s: %w", ref, err)
		}
		ref = pinned
	}
	if s.context == nil {
		p.checkBasePlatform(s, pin.Config.Platform())
	}
	for range pin.Config.RootFS.DiffIDs {
		s.layers = append(s.layers, "pulled from "+ref.String())
	}
	op := Image{Reference: ref.String(), Digest: pin.Digest, Platform: s.platform, DiffIDs: slices.Clone(pin.Config.RootFS.DiffIDs)}
	label := "[context " + s.contextName + "] " + ref.String()
	if s.context == nil {
		label = p.name(s, "FROM "+ref.String(), false)
	}
	s.root = p.step(Step{Op: op, Span: s.Span, Stage: s.id, Name: label})
	return nil
}

// run plans the instructions of a stage.
func (p *plan) run(s *stage) error {
	if s.base != nil {
		p.inherit(s)
	}
	s.done = true
	if s.platform.OS == "" {
		s.platform = p.goal
	}
	withPath(&s.config, s.platform.OS)
	for _, v := range s.config.Config.Env {
		name, value, _ := strings.Cut(v, "=")
		s.env.set(name, value)
	}
	if s.dir == "" {
		s.dir = "/"
	}
	if dir := s.config.Config.WorkingDir; dir != "" {
		if _, err := s.workdir(dir); err != nil {
			return diag.Errorf(s.at, "the base's working directory: %s", err)
		}
	}
	if user := s.config.Config.User; user != "" {
		s.user = user
	}
	if p.OwnLabels {
		s.config.Config.Labels = nil
	}
	for _, c := range s.commands {
		if err := p.do(s, c); err != nil {
			return err
		}
	}
	return nil
}

// inherit takes over what the base stage made.
func (p *plan) inherit(s *stage) {
	s.state = s.base.state
	s.config = clone(s.config)
	s.config.Config.OnBuild = nil
	s.args = slices.Clip(s.args)
	s.layers = slices.Clip(s.layers)
}
