package bake

import (
	"errors"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"builder/internal/diag"
)

// userFunction is a function of the files.
type userFunction struct {
	name     string
	file     *diag.File
	params   []string
	variadic string
	result   hcl.Expression
}

var functionSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{
	{Name: "params", Required: true}, {Name: "variadic_param"}, {Name: "variadic_params"}, {Name: "result", Required: true},
}}

func (e *evaluator) addFunction(f *diag.File, b *hcl.Block) error {
	content, problems := b.Body.Content(functionSchema)
	if problems.HasErrors() {
		return faults(f, problems)
	}
	u := &userFunction{name: b.Labels[0], file: f, result: content.Attributes["result"].Expr}
	params, problems := hcl.ExprList(content.Attributes["params"].Expr)
	if problems.HasErrors() {
		return faults(f, problems)
	}
	for _, p := range params {
		name := hcl.ExprAsKeyword(p)
		if name == "" {
			at := p.Range()
			return diag.Errorf(span(f, &at), "function %q: a parameter is a name", u.name)
		}
		u.params = append(u.params, name)
	}
	for _, key := range []string{"variadic_param", "variadic_params"} {
		if a := content.Attributes[key]; a != nil {
			if u.variadic = hcl.ExprAsKeyword(a.Expr); u.variadic == "" {
				return diag.Errorf(span(f, &a.Range), "function %q: a parameter is a name", u.name)
			}
		}
	}
	e.own = append(e.own, u)
	e.functions[u.name] = e.function(u)
	return nil
}

// function makes a function that evaluates the result where it is called.
func (e *evaluator) function(u *userFunction) function.Function {
	spec := &function.Spec{}
	param := func(name string) function.Parameter {
		return function.Parameter{Name: name, Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true}
	}
	for _, p := range u.params {
		spec.Params = append(spec.Params, param(p))
	}
	if u.variadic != "" {
		p := param(u.variadic)
		spec.VarParam = &p
	}
	spec.Type = func(args []cty.Value) (cty.Type, error) {
		v, err := e.call(u, args)
		return v.Type(), err
	}
	spec.Impl = func(args []cty.Value, _ cty.Type) (cty.Value, error) { return e.call(u, args) }
	return function.New(spec)
}

// maxDepth is how deep functions of the files may call each other: they know no end by themselves.
// Each call finds its type before its value, so that calls in calls double.
const (
	maxDepth = 100
	maxCalls = 100_000
)

func (e *evaluator) call(u *userFunction, args []cty.Value) (cty.Value, error) {
	e.calls++
	if e.depth++; e.depth > maxDepth || e.calls > maxCalls {
		e.endless = u
		return cty.DynamicVal, errors.New("it has no end")
	}
	defer func() { e.depth-- }()
	ctx := &hcl.EvalContext{Functions: e.functions, Variables: map[string]cty.Value{}}
	for _, t := range u.result.Variables() {
		if v := e.variables[t.RootName()]; v != nil && v.known {
			ctx.Variables[v.name] = v.value
		}
	}
	for i, p := range u.params {
		ctx.Variables[p] = args[i]
	}
	if u.variadic != "" {
		ctx.Variables[u.variadic] = cty.TupleVal(args[len(u.params):])
	}
	v, problems := u.result.Value(ctx)
	if problems.HasErrors() {
		return cty.DynamicVal, problems
	}
	return v, nil
}

// bringOwn finds the variables of the functions that an expression calls. Of JSON nobody
// says what it calls: then those of all are found, as far as they can be.
func (e *evaluator) bringOwn(expr hcl.Expression) error {
	called, known := e.called(expr)
	for _, u := range called {
		for _, t := range u.result.Variables() {
			v := e.variables[t.RootName()]
			if v == nil || v.known || !known && e.busy[v.name] {
				continue
			}
			if _, err := e.variable(v.name); err != nil && known {
				return err
			}
		}
	}
	return nil
}

// called are the functions of the files that an expression calls, and those that these do.
func (e *evaluator) called(expr hcl.Expression) (list []*userFunction, known bool) {
	node, ok := expr.(hclsyntax.Node)
	if !ok {
		return e.own, false
	}
	for todo := []hclsyntax.Node{node}; len(todo) > 0; {
		node := todo[0]
		todo = todo[1:]
		_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
			call, ok := n.(*hclsyntax.FunctionCallExpr)
			if !ok {
				return nil
			}
			for _, u := range e.own {
				if u.name != call.Name || slices.Contains(list, u) {
					continue
				}
				list = append(list, u)
				if body, ok := u.result.(hclsyntax.Node); ok {
					todo = append(todo, body)
				}
			}
			return nil
		})
	}
	return list, true
}
