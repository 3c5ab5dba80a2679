package planner

import (
	"slices"
	"sort"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"builder/internal/diag"
	"builder/parser"
)

// env is a list of variables, the one set last at the end. It is a
// [shell.EnvGetter].
type env struct{ vars []parser.Pair }

var _ shell.EnvGetter = env{}

// Get returns the value of a variable and whether it is set.
func (e env) Get(name string) (string, bool) {
	i := e.index(name)
	if i < 0 {
		return "", false
	}
	return e.vars[i].Value, true
}

// Keys returns the names in their order.
func (e env) Keys() []string {
	names := make([]string, len(e.vars))
	for i, v := range e.vars {
		names[i] = v.Name
	}
	return names
}

// list returns the variables as NAME=value.
func (e env) list() []string {
	list := make([]string, len(e.vars))
	for i, v := range e.vars {
		list[i] = v.Name + "=" + v.Value
	}
	return list
}

func (e env) index(name string) int {
	return slices.IndexFunc(e.vars, func(v parser.Pair) bool { return v.Name == name })
}

// set gives a variable its value; it moves to the end. Copies of e made before
// do not change.
func (e *env) set(name, value string) {
	e.remove(name)
	e.vars = append(slices.Clip(e.vars), parser.Pair{Name: name, Value: value})
}

func (e *env) remove(name string) {
	if i := e.index(name); i >= 0 {
		e.vars = slices.Concat(e.vars[:i], e.vars[i+1:])
	}
}

// lexer knows the escape character of the file in which at is.
func (p *plan) lexer(at *parser.Place) *shell.Lex {
	if at.Escape == 0 || at.Escape == p.recipe.Escape {
		return p.lex
	}
	return shell.NewLex(at.Escape)
}

// word replaces the variables in a word and removes its quotes, as BuildKit does.
func (p *plan) word(text string, vars env, at *parser.Place) (string, error) {
	word, unmatched, err := p.lexer(at).ProcessWord(text, vars)
	p.checkUndefined(unmatched, vars, at)
	if err != nil {
		return "", diag.Errorf(at.Find(text), "%s", err)
	}
	return word, limit(word, at)
}

// words is like word for every text of a list.
func (p *plan) words(texts []string, vars env, at *parser.Place) ([]string, error) {
	out := make([]string, len(texts))
	for i, text := range texts {
		var err error
		if out[i], err = p.word(text, vars, at); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// pairs replaces the variables in names and values.
func (p *plan) pairs(list []parser.Pair, vars env, at *parser.Place) ([]parser.Pair, error) {
	out := make([]parser.Pair, len(list))
	for i, v := range list {
		var err error
		if out[i].Name, err = p.word(v.Name, vars, at); err != nil {
			return nil, err
		}
		if out[i].Value, err = p.word(v.Value, vars, at); err != nil {
			return nil, err
		}
		out[i].Legacy = v.Legacy
	}
	return out, nil
}

// raw replaces the variables in the text of a heredoc; quotes stay.
func (p *plan) raw(text string, vars env, at *parser.Place) (string, error) {
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	word, unmatched, err := lex.ProcessWord(text, vars)
	p.checkUndefined(unmatched, vars, at)
	if err != nil {
		return "", diag.Errorf(at.Span, "heredoc: %s", err)
	}
	return word, limit(word, at)
}

// maxWord bounds what a word may grow to: variables that hold each other twice
// over double with every line.
const maxWord = 4 << 20

func limit(word string, at *parser.Place) error {
	if len(word) > maxWord {
		return diag.Errorf(at.Span, "with its variables replaced this is longer than %d MiB", maxWord>>20)
	}
	return nil
}

// globals evaluates the ARGs before the first FROM, with those that describe
// the build's platforms below them.
func (p *plan) globals() error {
	p.global = p.platformArgs()
	for _, a := range p.recipe.Args {
		for _, arg := range a.Args {
			value, ok := p.BuildArgs[arg.Name]
			var matched map[string]struct{}
			switch {
			case ok:
			case arg.Default == nil:
				p.takes.declareGlobal(arg, "", a.Span, nil)
				continue
			default:
				match, err := p.lexer(&a.Place).ProcessWordWithMatches(*arg.Default, p.global)
				if err == nil {
					matched = match.Matched
				}
				if value, err = p.word(*arg.Default, p.global, &a.Place); err != nil {
					return err
				}
			}
			p.takes.declareGlobal(arg, value, a.Span, matched)
			p.global.set(arg.Name, value)
		}
	}
	return nil
}

// platformArgs are the variables that describe the build's platforms and its target.
func (p *plan) platformArgs() (vars env) {
	target := p.Target
	if target == "" {
		target = p.recipe.Stages[len(p.recipe.Stages)-1].Name
	}
	if target == "" {
		target = "default"
	}
	for _, v := range []parser.Pair{
		{Name: "BUILDPLATFORM", Value: platforms.Format(p.build)},
		{Name: "BUILDOS", Value: p.build.OS},
		{Name: "BUILDOSVERSION", Value: p.build.OSVersion},
		{Name: "BUILDARCH", Value: p.build.Architecture},
		{Name: "BUILDVARIANT", Value: p.build.Variant},
		{Name: "TARGETPLATFORM", Value: platforms.FormatAll(p.goal)},
		{Name: "TARGETOS", Value: p.goal.OS},
		{Name: "TARGETOSVERSION", Value: p.goal.OSVersion},
		{Name: "TARGETARCH", Value: p.goal.Architecture},
		{Name: "TARGETVARIANT", Value: p.goal.Variant},
		{Name: "TARGETSTAGE", Value: target},
	} {
		if given, ok := p.BuildArgs[v.Name]; ok {
			v.Value = given
		}
		vars.set(v.Name, v.Value)
	}
	return vars
}

// proxyEnv returns what build arguments say about proxies, for the environment
// of every step and for nothing else.
func proxyEnv(args map[string]string) []string {
	names := []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}
	given := make([]string, 0, len(args))
	for name := range args {
		given = append(given, name)
	}
	sort.Strings(given)
	var out []string
	for _, name := range names {
		value := ""
		for _, g := range given {
			if strings.EqualFold(g, name) {
				value = args[g]
			}
		}
		if value != "" {
			out = append(out, name+"="+value, strings.ToLower(name)+"="+value)
		}
	}
	return out
}
