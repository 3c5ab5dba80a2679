package bake

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/zclconf/go-cty/cty"

	"builder/internal/diag"
)

// attributes say how what a target's block says becomes a target.
var attributes = map[string]func(*Target, cty.Value) error{
	"inherits":          texts(func(t *Target) *[]string { return &t.Inherits }),
	"description":       one(func(t *Target) **string { return &t.Description }),
	"annotations":       texts(func(t *Target) *[]string { return &t.Annotations }),
	"attest":            attrs(func(t *Target) *[]Attrs { return &t.Attest }),
	"context":           one(func(t *Target) **string { return &t.Context }),
	"contexts":          plainMap(func(t *Target) *map[string]string { return &t.Contexts }),
	"dockerfile":        one(func(t *Target) **string { return &t.Dockerfile }),
	"dockerfile-inline": one(func(t *Target) **string { return &t.DockerfileInline }),
	"args":              mapped(func(t *Target) *map[string]*string { return &t.Args }),
	"labels":            mapped(func(t *Target) *map[string]*string { return &t.Labels }),
	"tags":              texts(func(t *Target) *[]string { return &t.Tags }),
	"cache-from":        attrs(func(t *Target) *[]Attrs { return &t.CacheFrom }),
	"cache-to":          attrs(func(t *Target) *[]Attrs { return &t.CacheTo }),
	"target":            one(func(t *Target) **string { return &t.Target }),
	"secret":            attrs(func(t *Target) *[]Attrs { return &t.Secrets }),
	"ssh":               attrs(func(t *Target) *[]Attrs { return &t.SSH }),
	"platforms":         texts(func(t *Target) *[]string { return &t.Platforms }),
	"output":            attrs(func(t *Target) *[]Attrs { return &t.Outputs }),
	"pull":              claim(func(t *Target) **bool { return &t.Pull }),
	"no-cache":          claim(func(t *Target) **bool { return &t.NoCache }),
	"network":           one(func(t *Target) **string { return &t.Network }),
	"no-cache-filter":   texts(func(t *Target) *[]string { return &t.NoCacheFilter }),
	"shm-size":          one(func(t *Target) **string { return &t.ShmSize }),
	"ulimits":           texts(func(t *Target) *[]string { return &t.Ulimits }),
	"call":              one(func(t *Target) **string { return &t.Call }),
	"entitlements":      texts(func(t *Target) *[]string { return &t.Entitlements }),
	"extra-hosts":       mapped(func(t *Target) *map[string]*string { return &t.ExtraHosts }),
}

func attributeNames() []string {
	return append(slices.Sorted(maps.Keys(attributes)), "name", "matrix")
}

func one(of func(*Target) **string) func(*Target, cty.Value) error {
	return func(t *Target, v cty.Value) (err error) { *of(t), err = asText(v); return err }
}

func claim(of func(*Target) **bool) func(*Target, cty.Value) error {
	return func(t *Target, v cty.Value) (err error) { *of(t), err = asBool(v); return err }
}

func texts(of func(*Target) *[]string) func(*Target, cty.Value) error {
	return func(t *Target, v cty.Value) (err error) { *of(t), err = asTexts(v); return err }
}

func attrs(of func(*Target) *[]Attrs) func(*Target, cty.Value) error {
	return func(t *Target, v cty.Value) (err error) { *of(t), err = asAttrs(v); return err }
}

func mapped(of func(*Target) *map[string]*string) func(*Target, cty.Value) error {
	return func(t *Target, v cty.Value) (err error) { *of(t), err = asMap(v); return err }
}

func plainMap(of func(*Target) *map[string]string) func(*Target, cty.Value) error {
	return func(t *Target, v cty.Value) error {
		all, err := asMap(v)
		if all == nil || err != nil {
			return err
		}
		*of(t) = map[string]string{}
		for key, value := range all {
			if value != nil {
				(*of(t))[key] = *value
			}
		}
		return nil
	}
}

var nameForm = pattern(`^[a-zA-Z0-9_-]+$`)

// target evaluates a block: once, or for each combination of its matrix.
func (e *evaluator) target(d *Definition, b *block) error {
	matrix, name := b.attrs["matrix"], b.attrs["name"]
	if matrix == nil {
		if name != nil {
			return diag.Errorf(span(b.file, &name.Range), "target %q: name is for targets with a matrix", b.name)
		}
		return e.instance(d, b, b.name, nil)
	}
	if name == nil {
		return diag.Errorf(span(b.file, &matrix.Range), "target %q: a matrix needs a name", b.name).WithHint(`for example name = "%s-${item}"`, b.name)
	}
	combinations, err := e.matrix(b)
	if err != nil {
		return err
	}
	g := &group{targets: []string{}}
	for _, c := range combinations {
		v, err := e.value(b.file, name.Expr, c)
		if err != nil {
			return err
		}
		s, err := asText(v)
		if err != nil || s == nil {
			return diag.Errorf(span(b.file, &name.Range), "target %q: its name is not a text", b.name)
		}
		if slices.Contains(g.targets, *s) {
			return diag.Errorf(span(b.file, &name.Range), "target %q: its matrix gives the name %q twice", b.name, *s)
		}
		g.targets = append(g.targets, *s)
		if err := e.instance(d, b, *s, c); err != nil {
			return err
		}
	}
	if !slices.Contains(g.targets, b.name) {
		d.groups[b.name] = g
	}
	return nil
}

// maxCombinations bounds what a matrix makes.
const maxCombinations = 10000

// matrix returns all combinations, the last key's values changing fastest.
func (e *evaluator) matrix(b *block) ([]map[string]cty.Value, error) {
	attr := b.attrs["matrix"]
	v, err := e.value(b.file, attr.Expr, nil)
	if err != nil {
		return nil, err
	}
	wrong := func(err error) error {
		return diag.Errorf(span(b.file, &attr.Range), "target %q: matrix: %v", b.name, err)
	}
	if v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return nil, wrong(errors.New("it is not a map of lists"))
	}
	all := []map[string]cty.Value{{}}
	for it := v.ElementIterator(); it.Next(); {
		key, list := it.Element()
		values, err := elements(list)
		if err != nil {
			return nil, wrong(fmt.Errorf("%s: %w", key.AsString(), err))
		}
		var more []map[string]cty.Value
		for _, c := range all {
			for _, value := range values {
				with := maps.Clone(c)
				with[key.AsString()] = value
				if more = append(more, with); len(more) > maxCombinations {
					return nil, wrong(fmt.Errorf("it has more than %d combinations", maxCombinations))
				}
			}
		}
		all = more
	}
	return all, nil
}

// instance makes a target of a block.
func (e *evaluator) instance(d *Definition, b *block, name string, more map[string]cty.Value) error {
	if !nameForm().MatchString(name) {
		return diag.Errorf(span(b.file, &b.at), "target name %q can have letters, digits, - and _ only", name)
	}
	t := &Target{Name: name}
	var list diag.List
	for _, key := range slices.Sorted(maps.Keys(b.attrs)) {
		set := attributes[key]
		if set == nil {
			continue
		}
		attr := b.attrs[key]
		v, err := e.value(b.file, attr.Expr, more)
		if err != nil {
			return err
		}
		if err := set(t, v); err != nil {
			list.Add(diag.Errorf(span(b.file, &attr.Range), "target %q: %s: %v", name, key, err))
		}
	}
	if err := list.Err(); err != nil {
		return err
	}
	d.put(t)
	return nil
}

// put adds what is said of a target to what was said before.
func (d *Definition) put(t *Target) {
	old := d.targets[t.Name]
	if old == nil {
		d.targets[t.Name] = t
		d.order = append(d.order, t.Name)
		return
	}
	inherits := append(old.Inherits[:len(old.Inherits):len(old.Inherits)], t.Inherits...)
	old.merge(t)
	old.Inherits = inherits
}
