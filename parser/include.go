package parser

import (
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"builder/internal/diag"
)

// Include returns the file that an INCLUDE names, by a path relative to the file
// in which the INCLUDE stands. Equal files are one *diag.File.
type Include func(from *diag.File, path string) (*diag.File, error)

const (
	maxIncludes = 64 // in one recipe
	maxDepth    = 8  // of files that include each other
)

// inclusion is what the files of one recipe share.
type inclusion struct {
	open   Include // may be nil
	count  int
	stages bool // some file has stages
}

// include puts what another file says in the place of INCLUDE: a fragment without
// FROM into the stage, stages beside the recipe's own.
func (r *reader) include(recipe *Recipe, at Place) {
	words := strings.Fields(at.Text)
	if len(words) != 2 {
		r.faults.Add(diag.Errorf(at.Span, "INCLUDE takes one path").WithHint("write INCLUDE path, or INCLUDE path#stage"))
		return
	}
	name, stage, some := strings.Cut(words[1], "#")
	span := at.Find(words[1])
	if name == "" || some && stage == "" {
		r.faults.Add(diag.Errorf(span, "INCLUDE has no %s", map[bool]string{true: "path", false: "stage"}[name == ""]).WithHint("write INCLUDE path, or INCLUDE path#stage"))
		return
	}
	file, fault := r.open(name, span)
	if fault != nil {
		r.faults.Add(fault)
		return
	}
	sub := newReader(file)
	sub.extended, sub.included, sub.chain = true, r.included, append(slices.Clip(r.chain), file)
	part, fragment := sub.part(at)
	r.faults = append(r.faults, sub.faults...)
	if part == nil {
		// A file without instructions puts in nothing.
		if some && len(sub.faults) == 0 {
			r.faults.Add(diag.Errorf(span, "%s has no stages", file.Name))
		}
		return
	}
	recipe.Report.Join(part.Report)
	switch {
	case fragment && some:
		r.faults.Add(diag.Errorf(span, "%s has no stages", file.Name).WithHint("leave #%s out: it is a fragment for this stage", stage))
	case fragment:
		// What is ARGs alone fits into a stage and before the first one.
		r.undecided = r.undecided && sub.undecided
		r.addFragment(recipe, part, at)
	case r.fragment && !r.undecided:
		r.faults.Add(diag.Errorf(span, "%s has stages, and is included from a fragment of one", file.Name).WithHint("include it from the recipe, between stages"))
	default:
		if r.undecided {
			r.decide(recipe)
		}
		r.addStages(recipe, part, stage, span)
	}
}

// decide takes a file that was taken for a fragment for one with stages: so far it
// has nothing but ARG.
func (r *reader) decide(recipe *Recipe) {
	for _, in := range recipe.Stages[0].Instructions {
		if arg, ok := in.(*Arg); ok {
			recipe.Args = append(recipe.Args, arg)
		}
	}
	recipe.Stages, r.fragment, r.undecided = nil, false, false
}

// open reads the file of an INCLUDE.
func (r *reader) open(name string, span diag.Span) (*diag.File, *diag.Error) {
	if r.included.open == nil {
		return nil, diag.Errorf(span, "nothing can be included here").WithHint("INCLUDE reads files beside the recipe, in its context; this one came alone")
	}
	if r.included.count++; r.included.count > maxIncludes {
		return nil, diag.Errorf(span, "more than %d files are included", maxIncludes)
	}
	file, err := r.included.open(r.file, name)
	if err != nil {
		return nil, diag.Errorf(span, "%s", err)
	}
	names := make([]string, 0, len(r.chain)+1)
	for _, f := range append(slices.Clip(r.chain), file) {
		names = append(names, f.Name)
	}
	switch chain := strings.Join(names, " includes "); {
	case slices.Contains(r.chain, file):
		return nil, diag.Errorf(span, "a file includes itself: %s", chain)
	case len(r.chain) >= maxDepth:
		return nil, diag.Errorf(span, "files are included more than %d deep: %s", maxDepth, chain)
	}
	return file, nil
}

// part reads an included file. It is nil where nothing is left of it. A fragment
// has one stage without a FROM, which is that of the file it is included from.
func (r *reader) part(at Place) (recipe *Recipe, fragment bool) {
	recipe = &Recipe{File: r.file}
	r.directives()
	tree := r.tree()
	if tree == nil {
		return nil, false
	}
	if options, _, where, ok := parser.ParseDirective("check", []byte(r.file.Text)); ok {
		r.faults.Add(diag.Errorf(r.find(max(first(where), 1), options), "the check directive stands in the recipe that includes this file"))
	}
	recipe.Escape, r.escape = tree.EscapeToken, tree.EscapeToken
	r.continuations(&recipe.Report, tree.Warnings)
	r.fragment, r.undecided = true, true
	for _, node := range tree.AST.Children {
		switch strings.ToUpper(node.Value) {
		case "FROM":
			r.fragment, r.undecided = false, false
		case "INCLUDE", "ARG":
		default:
			r.undecided = false
		}
	}
	if r.fragment {
		recipe.Stages = []*Stage{{Place: at}}
	}
	for _, node := range tree.AST.Children {
		r.instruction(recipe, node)
	}
	return recipe, r.fragment
}

// addFragment puts the instructions of a fragment where the INCLUDE stands.
func (r *reader) addFragment(recipe, part *Recipe, at Place) {
	list := part.Stages[0].Instructions
	if len(recipe.Stages) > 0 && !r.ended {
		stage := recipe.Stages[len(recipe.Stages)-1]
		stage.Instructions = append(stage.Instructions, list...)
		return
	}
	for _, in := range list {
		arg, ok := in.(*Arg)
		if !ok || len(recipe.Stages) > 0 {
			r.faults.Add(diag.Errorf(at.Span, "no build stage in current context: %s of %s stands outside of a stage", strings.ToUpper(in.Source().Keyword), part.File.Name).
				WithHint("include it after a FROM"))
			return
		}
		recipe.Args = append(recipe.Args, arg)
	}
}

// addStages puts the stages of another file, or one with those that it needs,
// beside the recipe's.
func (r *reader) addStages(recipe, part *Recipe, only string, span diag.Span) {
	stages := part.Stages
	if only != "" {
		i := slices.IndexFunc(stages, func(s *Stage) bool { return s.Name == strings.ToLower(only) })
		if i < 0 {
			var names []string
			for _, s := range stages {
				names = append(names, s.Name)
			}
			e := diag.Errorf(span, "%s has no stage %q", part.File.Name, only)
			if near := diag.Nearest(strings.ToLower(only), names); near != "" {
				e = e.WithHint("did you mean %q?", near)
			}
			r.faults.Add(e)
			return
		}
		stages = needed(stages, stages[i])
	}
	// A file that is included twice brings its stages once.
	stages = slices.DeleteFunc(slices.Clone(stages), func(s *Stage) bool {
		return slices.ContainsFunc(recipe.Stages, func(have *Stage) bool { return have.Span == s.Span })
	})
	r.included.stages = true
	for _, s := range stages {
		for _, have := range recipe.Stages {
			if s.Name != "" && s.Name == have.Name {
				r.faults.Add(diag.Errorf(span, "%s has a stage %q, and so has %s", part.File.Name, s.Name, have.Span).WithHint("name one of them otherwise"))
			}
		}
		r.counted(s)
	}
	for _, a := range part.Args {
		for _, arg := range a.Args {
			for _, have := range recipe.Args {
				if arg.Default != nil && slices.ContainsFunc(have.Args, func(h ArgPair) bool { return h.Name == arg.Name && (h.Default == nil || *h.Default != *arg.Default) }) {
					r.faults.Add(diag.Errorf(span, "%s declares the build argument %s with another default than %s", part.File.Name, arg.Name, have.Span))
				}
			}
		}
	}
	recipe.Args = append(recipe.Args, part.Args...)
	recipe.Stages = append(recipe.Stages, stages...)
	r.ended = true
}

// counted refuses stages by number where some are included: they are others for
// each file that includes them.
func (r *reader) counted(s *Stage) {
	for _, in := range s.Instructions {
		var from []string
		switch in := in.(type) {
		case *Copy:
			from = []string{in.From}
		case *Run:
			from = in.MountsFrom()
		}
		for _, name := range from {
			if _, err := strconv.Atoi(name); err == nil {
				r.faults.Add(diag.Errorf(in.Source().Find("from="+name), "stages have no numbers in a recipe that includes stages: %q", name).
					WithHint("give the stage a name with FROM … AS"))
			}
		}
	}
}

// needed are the stages that one begins with, copies from or mounts, itself last,
// in their order.
func needed(all []*Stage, stage *Stage) []*Stage {
	byName := map[string]*Stage{}
	for _, s := range all {
		if s.Name != "" {
			byName[s.Name] = s
		}
	}
	keep := map[*Stage]bool{}
	var visit func(s *Stage)
	visit = func(s *Stage) {
		if s == nil || keep[s] {
			return
		}
		keep[s] = true
		visit(byName[strings.ToLower(s.Base)])
		for _, in := range s.Instructions {
			switch in := in.(type) {
			case *Copy:
				visit(byName[strings.ToLower(in.From)])
			case *Run:
				for _, from := range in.MountsFrom() {
					visit(byName[strings.ToLower(from)])
				}
			}
		}
	}
	visit(stage)
	return slices.DeleteFunc(slices.Clone(all), func(s *Stage) bool { return !keep[s] })
}
