package planner

import (
	"cmp"
	"maps"
	"slices"

	"builder/internal/diag"
	"builder/parser"
)

// Outline is what a target takes: its build arguments, secrets and agents, each in
// the order of the text.
type Outline struct {
	Name, Description string // of the target's stage
	Args              []OutlineArg
	Secrets, SSH      []OutlineNeed
}

// OutlineArg is a build argument with the value that it has.
type OutlineArg struct {
	Name, Description, Value string
	Span                     diag.Span
}

// OutlineNeed is a secret or an agent, by its ID.
type OutlineNeed struct {
	Name     string
	Required bool
	Span     diag.Span
}

// takes is what a stage itself takes.
type takes struct {
	args    map[string]outlineArg // that are declared so far, in scope or not
	used    map[string]bool
	secrets map[string]OutlineNeed
	ssh     map[string]OutlineNeed
}

type outlineArg struct {
	OutlineArg
	from map[string]bool // the arguments that its value was made of
}

func (t takes) clone() takes {
	return takes{args: maps.Clone(t.args), used: maps.Clone(t.used), secrets: maps.Clone(t.secrets), ssh: maps.Clone(t.ssh)}
}

func newTakes() takes {
	return takes{args: map[string]outlineArg{}, used: map[string]bool{}, secrets: map[string]OutlineNeed{}, ssh: map[string]OutlineNeed{}}
}

// declareGlobal notes an ARG before the first FROM. matched are the variables in
// its default.
func (t takes) declareGlobal(a parser.ArgPair, value string, at diag.Span, matched map[string]struct{}) {
	arg := outlineArg{OutlineArg{a.Name, a.Doc, value, at}, map[string]bool{}}
	for name := range matched {
		if name != a.Name {
			arg.from[name] = true
		}
	}
	if _, again := matched[a.Name]; again {
		maps.Copy(arg.from, t.args[a.Name].from)
	}
	t.args[a.Name] = arg
}

// declare notes an ARG of a stage. Its value may come from the ARG before the
// first FROM, which then is what is shown.
func (t takes) declare(a parser.ArgPair, value string, at diag.Span, inherited bool) {
	if !inherited {
		t.args[a.Name] = outlineArg{OutlineArg: OutlineArg{a.Name, a.Doc, value, at}}
	}
	t.used[a.Name] = true
}

// use notes the variables of FROM.
func (t takes) use(p *plan, text string, at *parser.Place) {
	match, err := p.lexer(at).ProcessWordWithMatches(text, p.global)
	if err != nil {
		return
	}
	for name := range match.Matched {
		t.used[name] = true
	}
}

// need notes the secrets and agents of a RUN.
func (t takes) need(mounts []Mount, at diag.Span) {
	for _, m := range mounts {
		to := t.secrets
		switch m.Type {
		case MountSecret:
		case MountSSH:
			to = t.ssh
		default:
			continue
		}
		if _, ok := to[m.ID]; !ok {
			to[m.ID] = OutlineNeed{Name: m.ID, Required: m.Required, Span: at}
		}
	}
}

// all are the arguments used, with those that their values were made of.
func (t takes) all() map[string]bool {
	seen := map[string]bool{}
	var visit func(map[string]bool)
	visit = func(names map[string]bool) {
		for name := range names {
			if !seen[name] {
				seen[name] = true
				visit(t.args[name].from)
			}
		}
	}
	visit(t.used)
	return seen
}

// outline is what a stage and those below it take.
func (p *plan) outline(target *stage) Outline {
	o := Outline{Name: target.named, Description: target.doc}
	args, secrets, ssh := map[string]OutlineArg{}, map[string]OutlineNeed{}, map[string]OutlineNeed{}
	seen := map[*stage]bool{}
	var visit func(*stage)
	visit = func(s *stage) {
		if s == nil || seen[s] {
			return
		}
		seen[s] = true
		for name := range s.takes.all() {
			if a, ok := s.takes.args[name]; ok {
				if _, shown := args[name]; !shown {
					args[name] = a.OutlineArg
				}
			}
		}
		add(secrets, s.takes.secrets)
		add(ssh, s.takes.ssh)
		visit(s.base)
		for _, d := range s.deps {
			visit(d.on)
		}
	}
	visit(target)
	o.Args = slices.SortedFunc(maps.Values(args), func(a, b OutlineArg) int {
		return cmp.Or(a.Span.Start.Line-b.Span.Start.Line, cmp.Compare(a.Name, b.Name))
	})
	o.Secrets, o.SSH = sorted(secrets), sorted(ssh)
	return o
}

func add(to, more map[string]OutlineNeed) {
	for name, n := range more {
		if _, ok := to[name]; !ok {
			to[name] = n
		}
	}
}

func sorted(needs map[string]OutlineNeed) []OutlineNeed {
	return slices.SortedFunc(maps.Values(needs), func(a, b OutlineNeed) int {
		return cmp.Or(a.Span.Start.Line-b.Span.Start.Line, cmp.Compare(a.Name, b.Name))
	})
}
