package planner

import (
	"strings"

	"github.com/containerd/platforms"

	"builder/image"
	"builder/internal/diag"
)

// Named is what stands for a name in the place of the recipe's stage or of an
// image: a named context. One field is set.
type Named struct {
	Image string // a reference, or "scratch"
	Stage string // a stage of the recipe
	Files Op     // a [Context], an [HTTP] or a [Git]
}

// ContextName returns a name in the form in which named contexts are known:
// docker's familiar form, without "latest".
func ContextName(name string) (string, error) {
	ref, err := image.ParseReference(name)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(ref.Familiar(), ":latest"), nil
}

// named returns the named context for a name. One for just the platform comes first.
func (p *plan) named(name string, on image.Platform) (Named, string, bool) {
	if len(p.Contexts) == 0 {
		return Named{}, "", false
	}
	name, err := ContextName(name)
	if err != nil {
		return Named{}, "", false
	}
	if on.OS == "" {
		on = p.goal
	}
	n, ok := p.Contexts[name+"::"+platforms.FormatAll(platforms.Normalize(on))]
	if !ok {
		n, ok = p.Contexts[name]
	}
	return n, name, ok
}

// override puts a named context in the place of a stage's beginning: of all of
// the stage where it has the stage's name, of its base where it has that.
func (p *plan) override(s *stage, name string) error {
	n, name, ok := p.named(name, s.platform)
	if !ok {
		return nil
	}
	s.context, s.contextName = &n, name
	switch {
	case n.Stage != "":
		base, ok := p.byName[strings.ToLower(n.Stage)]
		if !ok || base == s {
			return diag.Errorf(s.at, "the context %q is the stage %q, which is not above", name, n.Stage)
		}
		s.base, s.ref = base, n.Stage
	case n.Files != nil:
		s.base, s.ref = nil, scratch
	default:
		s.base, s.ref = nil, n.Image
	}
	return nil
}

// files begins a stage with the files of a context: all of them for whom it is a
// tree, and as they are for a COPY.
func (p *plan) files(s *stage) {
	label := "[context " + s.contextName + "] "
	load := label + "load from client"
	switch op := s.context.Files.(type) {
	case HTTP:
		load = label + Redact(op.URL)
	case Git:
		load = label + op.String()
	}
	s.source = p.step(Step{Op: s.context.Files, Name: load, Span: s.Span})
	s.root = p.step(Step{
		Op:     Copy{Sources: []string{"."}, Dest: "/", Context: true, Literal: true},
		Inputs: []StepRef{None, s.source}, Span: s.Span, Stage: s.id, Name: label + "as a tree",
	})
	s.layer(load)
	if len(s.commands) > 0 {
		s.source = None // it is more than the context
	}
}
