package bake

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"builder/internal/diag"
)

// Selection is the targets that were asked for, resolved, and the groups by which.
type Selection struct {
	Groups  map[string][]string
	Targets map[string]*Target
	// Names are the targets that were asked for, in order; the others are what those are made of.
	Names []string
}

// targetScheme begins the context that is another target.
const targetScheme = "target:"

// Select returns the targets that names stand for, with what they inherit and what overrides say:
// PATTERN.KEY[.SUBKEY]=VALUE, or += to add to a list.
func (d *Definition) Select(names, overrides []string) (*Selection, error) {
	set, err := parseOverrides(overrides)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = []string{"default"}
	}
	s := &Selection{Groups: map[string][]string{}, Targets: map[string]*Target{}}
	for _, name := range names {
		found, err := d.expand(name, nil, s.Groups)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if !slices.Contains(s.Names, f) {
				s.Names = append(s.Names, f)
			}
		}
	}
	if s.Groups["default"] == nil {
		s.Groups["default"] = names
	}
	for _, o := range set {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(d.targets)), o.matches) {
			return nil, diag.Errorf(diag.Span{}, "--set %s: there is no target %q", o.text, o.pattern)
		}
	}
	todo := slices.Clone(s.Names)
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if s.Targets[name] != nil {
			continue
		}
		t, err := d.resolve(name, set, nil)
		if err != nil {
			return nil, err
		}
		s.Targets[name] = t
		for _, value := range t.Contexts {
			if on, ok := strings.CutPrefix(value, targetScheme); ok {
				if d.targets[on] == nil {
					return nil, d.unknown(on, fmt.Sprintf("target %q is made of", name))
				}
				todo = append(todo, on)
			}
		}
	}
	return s, s.acyclic()
}

// expand returns the targets that a name stands for, and notes the groups by which.
func (d *Definition) expand(name string, through []string, by map[string][]string) ([]string, error) {
	g := d.groups[name]
	if g == nil || slices.Contains(through, name) {
		if d.targets[name] == nil {
			return nil, d.unknown(name, "there is no target or group")
		}
		return []string{name}, nil
	}
	by[name] = g.targets
	var all []string
	for _, member := range g.targets {
		found, err := d.expand(member, append(through[:len(through):len(through)], name), by)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	return all, nil
}

func (d *Definition) unknown(name, text string) error {
	e := diag.Errorf(diag.Span{}, "%s %q", text, name)
	known := slices.Concat(slices.Sorted(maps.Keys(d.targets)), slices.Sorted(maps.Keys(d.groups)))
	if near := diag.Nearest(name, known); near != "" {
		return e.WithHint("did you mean %q?", near)
	}
	if name == "default" {
		return e.WithHint("name what to build: %s", strings.Join(known, ", "))
	}
	return e
}

// resolve returns a target with what it inherits, and what overrides say of both.
func (d *Definition) resolve(name string, set []override, through []string) (*Target, error) {
	own := d.targets[name]
	if own == nil {
		return nil, d.unknown(name, fmt.Sprintf("target %q inherits from the unknown target", through[len(through)-1]))
	}
	if slices.Contains(through, name) {
		return nil, diag.Errorf(diag.Span{}, "target %q inherits from itself", name)
	}
	t := &Target{Name: name}
	for _, parent := range own.Inherits {
		p, err := d.resolve(parent, set, append(through[:len(through):len(through)], name))
		if err != nil {
			return nil, err
		}
		t.merge(p)
	}
	t.merge(own)
	t.Inherits = nil
	touched := map[string]bool{}
	for _, o := range set {
		if o.matches(name) {
			if err := o.apply(t, touched, d.env); err != nil {
				return nil, err
			}
		}
	}
	if t.Context == nil {
		t.Context = ptr(".")
	}
	if t.Dockerfile == nil {
		t.Dockerfile = ptr("Dockerfile")
	}
	return t, nil
}

// acyclic refuses targets that are made of themselves.
func (s *Selection) acyclic() error {
	state := map[string]int{}
	var visit func(name string) error
	visit = func(name string) error {
		if state[name] == 2 {
			return nil
		}
		if state[name] == 1 {
			return diag.Errorf(diag.Span{}, "target %q is made of itself", name)
		}
		state[name] = 1
		for _, value := range s.Targets[name].Contexts {
			if on, ok := strings.CutPrefix(value, targetScheme); ok {
				if err := visit(on); err != nil {
					return err
				}
			}
		}
		state[name] = 2
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Targets)) {
		if err := visit(name); err != nil {
			return err
		}
	}
	return nil
}

// Needs are the targets that a target's contexts are, by the name of the context.
func (t *Target) Needs() map[string]string {
	needs := map[string]string{}
	for name, value := range t.Contexts {
		if on, ok := strings.CutPrefix(value, targetScheme); ok {
			needs[name] = on
		}
	}
	return needs
}

func ptr[T any](v T) *T { return &v }

// override is one --set.
type override struct {
	text, pattern, key, sub, value string
	add, has                       bool
}

func parseOverrides(texts []string) ([]override, error) {
	var all []override
	for _, text := range texts {
		left, value, has := strings.Cut(text, "=")
		o := override{text: text, value: value, has: has}
		left, o.add = strings.CutSuffix(left, "+")
		parts := strings.SplitN(left, ".", 3)
		if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
			return nil, diag.Errorf(diag.Span{}, "--set %s: it is not TARGET.KEY=VALUE", text)
		}
		o.pattern, o.key = parts[0], parts[1]
		if len(parts) == 3 {
			o.sub = parts[2]
		}
		if _, err := path.Match(o.pattern, ""); err != nil {
			return nil, diag.Errorf(diag.Span{}, "--set %s: %q is no pattern", text, o.pattern)
		}
		all = append(all, o)
	}
	return all, nil
}

func (o override) matches(name string) bool {
	ok, err := path.Match(o.pattern, name)
	return ok && err == nil
}
