package bake

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"

	"builder/internal/diag"
)

// evaluator has what files define, and finds values as they are asked for: the order
// in which things are written says nothing.
type evaluator struct {
	Options
	functions map[string]function.Function
	own       []*userFunction
	variables map[string]*variable
	names     []string // of variables, as they are written
	targets   map[string][]*block
	groups    []*block
	order     []string // of targets
	// busy are values that are being found, by name.
	busy         map[string]bool
	depth, calls int // of functions of the files: how deep they are in each other, and how many there were
	// endless is a function that was found to call itself without end.
	endless *userFunction
}

// block is one "target" or "group" of a file.
type block struct {
	name  string
	file  *diag.File
	at    hcl.Range
	attrs hcl.Attributes
}

func newEvaluator(o Options) *evaluator {
	e := &evaluator{Options: o, functions: functions(), variables: map[string]*variable{}, targets: map[string][]*block{}, busy: map[string]bool{}}
	for name, value := range o.Builtin {
		e.variables[name] = &variable{name: name, value: cty.StringVal(value), known: true, builtin: true}
	}
	return e
}

var topSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "variable", LabelNames: []string{"name"}}, {Type: "function", LabelNames: []string{"name"}},
	{Type: "target", LabelNames: []string{"name"}}, {Type: "group", LabelNames: []string{"name"}},
}}

// add takes what a file defines.
func (e *evaluator) add(f *diag.File, body hcl.Body) error {
	content, rest, problems := body.PartialContent(topSchema)
	if problems.HasErrors() {
		return faults(f, problems)
	}
	attrs, err := loose(f, body, rest)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		e.define(&variable{name: name, file: f, at: attrs[name].Range, fallback: attrs[name].Expr})
	}
	for _, b := range content.Blocks {
		var err error
		switch b.Type {
		case "variable":
			err = e.addVariable(f, b)
		case "function":
			err = e.addFunction(f, b)
		default:
			err = e.addBlock(f, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loose are the attributes beside the blocks: variables that nobody gives a value from
// outside. Of HCL's own form those of the rest cannot be asked for, as it has blocks.
func loose(f *diag.File, body, rest hcl.Body) (hcl.Attributes, error) {
	native, ok := body.(*hclsyntax.Body)
	if !ok {
		attrs, problems := rest.JustAttributes()
		if problems.HasErrors() {
			return nil, faults(f, problems)
		}
		return attrs, nil
	}
	types := []string{"variable", "function", "target", "group"}
	for _, b := range native.Blocks {
		if !slices.Contains(types, b.Type) {
			e := diag.Errorf(span(f, &b.TypeRange), "there are no blocks of type %q", b.Type)
			if near := diag.Nearest(b.Type, types); near != "" {
				return nil, e.WithHint("did you mean %q?", near)
			}
			return nil, e
		}
	}
	attrs := hcl.Attributes{}
	for name, a := range native.Attributes {
		attrs[name] = a.AsHCLAttribute()
	}
	return attrs, nil
}

func (e *evaluator) addBlock(f *diag.File, b *hcl.Block) error {
	attrs, problems := b.Body.JustAttributes()
	if problems.HasErrors() {
		return faults(f, problems)
	}
	at := &block{name: b.Labels[0], file: f, at: b.DefRange, attrs: attrs}
	if b.Type == "group" {
		e.groups = append(e.groups, at)
		return only(at, "group", []string{"targets", "description"})
	}
	if e.targets[at.name] == nil {
		e.order = append(e.order, at.name)
	}
	e.targets[at.name] = append(e.targets[at.name], at)
	return only(at, "target", attributeNames())
}

// only refuses attributes that have no meaning.
func only(b *block, kind string, names []string) error {
	var list diag.List
	for _, name := range slices.Sorted(maps.Keys(b.attrs)) {
		if slices.Contains(names, name) {
			continue
		}
		e := diag.Errorf(span(b.file, &b.attrs[name].NameRange), "a %s has no %q", kind, name)
		if near := diag.Nearest(name, names); near != "" {
			e = e.WithHint("did you mean %q?", near)
		}
		list.Add(e)
	}
	return list.Err()
}

// evaluate finds all values.
func (e *evaluator) evaluate(d *Definition) error {
	var list diag.List
	for _, name := range e.names {
		v := e.variables[name]
		if _, err := e.variable(name); err != nil {
			return err
		}
		if v.declared {
			d.Variables = append(d.Variables, v.describe())
		}
	}
	for _, name := range e.names {
		if err := e.validate(e.variables[name]); err != nil {
			list.Add(err)
		}
	}
	if err := list.Err(); err != nil {
		return err
	}
	for _, b := range e.groups {
		if err := e.group(d, b); err != nil {
			return err
		}
	}
	for _, name := range e.order {
		for _, b := range e.targets[name] {
			if err := e.target(d, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *evaluator) group(d *Definition, b *block) error {
	g := &group{}
	for name, attr := range b.attrs {
		v, err := e.value(b.file, attr.Expr, nil)
		if err != nil {
			return err
		}
		if name == "description" {
			if text, err := asText(v); err == nil && text != nil {
				g.description = *text
			}
			continue
		}
		if g.targets, err = asTexts(v); err != nil {
			return diag.Errorf(span(b.file, &attr.Range), "group %q: targets: %v", b.name, err)
		}
	}
	d.groups[b.name] = g
	return nil
}

// value finds what an expression is. more are variables that it may use besides.
func (e *evaluator) value(f *diag.File, expr hcl.Expression, more map[string]cty.Value) (cty.Value, error) {
	ctx := &hcl.EvalContext{Variables: maps.Clone(more), Functions: e.functions}
	if ctx.Variables == nil {
		ctx.Variables = map[string]cty.Value{}
	}
	for _, t := range expr.Variables() {
		if err := e.bring(ctx, f, t); err != nil {
			return cty.DynamicVal, err
		}
	}
	if err := e.bringOwn(expr); err != nil {
		return cty.DynamicVal, err
	}
	v, problems := expr.Value(ctx)
	if u := e.endless; u != nil {
		at := expr.Range()
		return v, diag.Errorf(span(f, &at), "function %q calls itself without end", u.name)
	}
	if problems.HasErrors() {
		return v, faults(f, problems)
	}
	return v, nil
}

// bring makes what a traversal begins with known to an expression.
func (e *evaluator) bring(ctx *hcl.EvalContext, f *diag.File, t hcl.Traversal) error {
	root := t.RootName()
	if _, ok := ctx.Variables[root]; ok && root != "target" {
		return nil
	}
	if e.variables[root] != nil {
		v, err := e.variable(root)
		if err != nil {
			return err
		}
		ctx.Variables[root] = v
		return nil
	}
	if root != "target" || len(t) < 3 {
		return nil // what is not there HCL says with its place
	}
	name, ok1 := t[1].(hcl.TraverseAttr)
	attr, ok2 := t[2].(hcl.TraverseAttr)
	if !ok1 || !ok2 || e.targets[name.Name] == nil {
		return nil
	}
	v, err := e.attribute(f, t, name.Name, attr.Name)
	if err != nil {
		return err
	}
	all := map[string]cty.Value{}
	if known, ok := ctx.Variables["target"]; ok {
		all = known.AsValueMap()
	}
	of := map[string]cty.Value{}
	if known, ok := all[name.Name]; ok {
		of = known.AsValueMap()
	}
	of[attr.Name] = v
	all[name.Name] = cty.ObjectVal(of)
	ctx.Variables["target"] = cty.ObjectVal(all)
	return nil
}

// attribute is what the last of a target's blocks says of an attribute.
func (e *evaluator) attribute(f *diag.File, t hcl.Traversal, target, attr string) (cty.Value, error) {
	key := "target." + target + "." + attr
	at := t.SourceRange()
	if e.busy[key] {
		return cty.DynamicVal, diag.Errorf(span(f, &at), "%s is made of itself", key)
	}
	e.busy[key] = true
	defer delete(e.busy, key)
	for _, b := range slices.Backward(e.targets[target]) {
		if a := b.attrs[attr]; a != nil {
			return e.value(b.file, a.Expr, nil)
		}
	}
	return cty.DynamicVal, diag.Errorf(span(f, &at), "target %q says nothing of %q", target, attr)
}

// variable is a variable of the files: declared, with what it may be, or a mere attribute.
type variable struct {
	name, description string
	file              *diag.File
	at                hcl.Range
	declared, builtin bool
	kind              cty.Type // NilType where none is said
	fallback          hcl.Expression
	checks            []check
	value             cty.Value
	known             bool
}

type check struct {
	condition, message hcl.Expression
	at                 hcl.Range
}

func (e *evaluator) define(v *variable) {
	if old := e.variables[v.name]; old == nil || old.builtin {
		e.names = append(e.names, v.name)
	} else if v.fallback == nil {
		v.fallback = old.fallback
	}
	e.variables[v.name] = v
}

var variableSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "default"}, {Name: "type"}, {Name: "description"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "validation"}},
}

var validationSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "condition", Required: true}, {Name: "error_message"}}}

func (e *evaluator) addVariable(f *diag.File, b *hcl.Block) error {
	content, problems := b.Body.Content(variableSchema)
	if problems.HasErrors() {
		return faults(f, problems)
	}
	v := &variable{name: b.Labels[0], file: f, at: b.DefRange, declared: true}
	if a := content.Attributes["default"]; a != nil {
		v.fallback = a.Expr
	}
	if a := content.Attributes["type"]; a != nil {
		if v.kind, problems = typeexpr.TypeConstraint(a.Expr); problems.HasErrors() {
			return faults(f, problems)
		}
	}
	if a := content.Attributes["description"]; a != nil {
		text, problems := a.Expr.Value(nil)
		if problems.HasErrors() {
			return faults(f, problems)
		}
		if said, err := asText(text); err == nil && said != nil {
			v.description = *said
		}
	}
	for _, b := range content.Blocks {
		c, problems := b.Body.Content(validationSchema)
		if problems.HasErrors() {
			return faults(f, problems)
		}
		one := check{condition: c.Attributes["condition"].Expr, at: b.DefRange}
		if m := c.Attributes["error_message"]; m != nil {
			one.message = m.Expr
		}
		v.checks = append(v.checks, one)
	}
	e.define(v)
	return nil
}

// variable finds the value of a variable.
func (e *evaluator) variable(name string) (cty.Value, error) {
	v := e.variables[name]
	if v.known {
		return v.value, nil
	}
	if e.busy[name] {
		return cty.DynamicVal, diag.Errorf(span(v.file, &v.at), "variable %q is made of itself", name)
	}
	e.busy[name] = true
	defer delete(e.busy, name)
	value := cty.NullVal(cty.String)
	if v.fallback != nil {
		var err error
		if value, err = e.value(v.file, v.fallback, nil); err != nil {
			return value, err
		}
	}
	value, err := e.given(v, value)
	if err != nil {
		return value, diag.Errorf(span(v.file, &v.at), "variable %q: %v", name, err)
	}
	v.value, v.known = value, true
	return value, nil
}

// given is the value that the command line or the environment gives a variable, as what
// the variable is; else its own.
func (e *evaluator) given(v *variable, own cty.Value) (cty.Value, error) {
	kind := v.kind
	if kind == cty.NilType && !own.IsNull() {
		kind = own.Type()
	}
	if !v.declared {
		return own, nil
	}
	text, ok := e.Vars[v.name]
	if !ok && e.Env != nil {
		if text, ok = e.Env(v.name + "_JSON"); ok && v.kind != cty.NilType {
			return fromJSON(text, v.kind)
		}
		text, ok = e.Env(v.name)
	}
	switch {
	case ok && kind == cty.NilType:
		return cty.StringVal(text), nil
	case ok:
		return fromText(text, kind, v.kind != cty.NilType)
	case v.kind != cty.NilType:
		return convert.Convert(own, v.kind)
	default:
		return own, nil
	}
}

func (e *evaluator) validate(v *variable) *diag.Error {
	for _, c := range v.checks {
		result, err := e.value(v.file, c.condition, nil)
		if err != nil {
			return asDiag(err, span(v.file, &c.at))
		}
		if ok, err := convert.Convert(result, cty.Bool); err == nil && !ok.IsNull() && ok.True() {
			continue
		}
		message := "its value is not valid"
		if c.message != nil {
			text, err := e.value(v.file, c.message, nil)
			if err != nil {
				return asDiag(err, span(v.file, &c.at))
			}
			if said, err := asText(text); err == nil && said != nil {
				message = *said
			}
		}
		at := c.condition.Range()
		return diag.Errorf(span(v.file, &at), "variable %q: %s", v.name, message)
	}
	return nil
}

func asDiag(err error, at diag.Span) *diag.Error {
	if e, ok := err.(*diag.Error); ok { //nolint:errorlint // a list is wrapped below
		return e
	}
	return diag.Errorf(at, "%v", err)
}

func (v *variable) describe() Variable {
	d := Variable{Name: v.name, Description: v.description}
	kind := v.kind
	if kind == cty.NilType && !v.value.IsNull() {
		kind = v.value.Type()
	}
	if kind != cty.NilType {
		d.Type = typeexpr.TypeString(kind)
	}
	if !v.value.IsNull() {
		d.Value = text(v.value)
	}
	return d
}
