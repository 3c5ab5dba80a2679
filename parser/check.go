package parser

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"builder/internal/diag"
)

// Warning is what a check has to say of a recipe. The rules, their names and what
// they say are BuildKit's.
type Warning struct {
	Rule        string // its name
	Description string // of the rule
	URL         string // where to read more; may be empty
	Text        string // what is found
	Span        diag.Span
}

// String returns the warning on one line.
func (w Warning) String() string { return linter.LintFormatShort(w.Rule, w.Text, w.Span.Start.Line) }

// Report collects what checks find, before it is known which of them count. The
// zero Report is empty.
type Report struct{ found []finding }

// finding is a warning with what the comments above its instruction say of rules.
type finding struct {
	Warning
	experimental bool
	local        []string
}

// Add notes that the rule has something to say of the instruction at at.
func (r *Report) Add(rule linter.LinterRuleI, at *Place, text string) {
	if rule.IsDeprecated() {
		return
	}
	f := finding{experimental: rule.IsExperimental(), local: at.Comments}
	rule.Run(func(name, description, url, text string, _ []parser.Range) {
		f.Warning = Warning{Rule: name, Description: description, URL: url, Text: text, Span: at.Span}
	}, nil, text)
	r.found = append(r.found, f)
}

// Join adds what another report has.
func (r *Report) Join(other Report) { r.found = append(r.found, other.found...) }

// Checks says which rules count. The zero Checks are all but those that are
// experimental.
type Checks struct{ config linter.Config }

// ParseChecks reads the options of a check directive: "skip=RULE,…;error=true".
func ParseChecks(text string) (Checks, error) {
	c, err := linter.ParseLintOptions(text)
	if err != nil {
		return Checks{}, fmt.Errorf("failed to parse check options: %w", err)
	}
	return Checks{*c}, nil
}

// Choose returns the warnings of the rules that count, in the order in which they
// were found.
func (c Checks) Choose(r Report) []Warning {
	var list []Warning
	for _, f := range r.found {
		l := linter.New(&c.config).WithMergedConfigFromComments(f.local)
		counts := !l.SkipAll
		if _, skip := l.SkippedRules[f.Rule]; skip {
			counts = false
		}
		if f.experimental {
			_, counts = l.ExperimentalRules[f.Rule]
			counts = counts || l.ExperimentalAll
		}
		if counts {
			list = append(list, f.Warning)
		}
	}
	return list
}

// Err is an error where warnings are to be errors and there are some.
func (c Checks) Err(warnings []Warning) error {
	if !c.config.ReturnAsError || len(warnings) == 0 {
		return nil
	}
	var rules []string
	for _, w := range warnings {
		rules = append(rules, w.Rule)
	}
	slices.Sort(rules)
	return diag.Errorf(diag.Span{}, "lint violation found for rules: %s", strings.Join(slices.Compact(rules), ", ")).
		WithHint("the check directive or BUILDKIT_DOCKERFILE_CHECK asks for error=true")
}

// watch returns a linter for BuildKit's packages whose warnings are noted as
// those of an instruction.
func (r *Report) watch(at *Place) *linter.Linter {
	return linter.New(&linter.Config{ExperimentalAll: true, Warn: func(name, description, url, text string, _ []parser.Range) {
		r.found = append(r.found, finding{
			Warning:      Warning{Rule: name, Description: description, URL: url, Text: text, Span: at.Span},
			experimental: name == linter.RuleInvalidDefinitionDescription.Name, local: at.Comments,
		})
	}})
}

// watch is what looks at the next instruction. What stands behind a fault is not
// looked at: it may be another instruction's rest.
func (r *reader) watch(recipe *Recipe, at *Place) *linter.Linter {
	if len(r.faults) > 0 {
		return linter.New(&linter.Config{SkipAll: true})
	}
	return recipe.Report.watch(at)
}

// continuations notes the empty lines in instructions that go on.
func (r *reader) continuations(report *Report, warnings []parser.Warning) {
	if len(r.faults) > 0 {
		return
	}
	for _, w := range warnings {
		if w.URL != linter.RuleNoEmptyContinuation.URL || w.Location == nil {
			continue
		}
		at := place(r, w.Location.Start.Line, max(w.Location.End.Line, w.Location.Start.Line), "")
		report.Add(&linter.RuleNoEmptyContinuation, &at, linter.RuleNoEmptyContinuation.Format())
	}
}

// checkNames looks at the stages' names.
func (r *Recipe) checkNames() {
	seen := map[string]bool{}
	for _, s := range r.Stages {
		if s.Name == "" {
			continue
		}
		at := s.Place
		at.Comments = nil
		if s.Name == "context" || s.Name == "scratch" {
			r.Report.Add(&linter.RuleReservedStageName, &at, linter.RuleReservedStageName.Format(s.Name))
		}
		if seen[s.Name] {
			r.Report.Add(&linter.RuleDuplicateStageName, &at, linter.RuleDuplicateStageName.Format(s.Name))
		}
		seen[s.Name] = true
	}
}

// checkCasing looks at how the instructions' names are written.
func (r *Recipe) checkCasing() {
	lower, upper := 0, 0
	all := []*Place{}
	for _, s := range r.Stages {
		all = append(all, &s.Place)
		for _, in := range s.Instructions {
			all = append(all, in.Source())
		}
	}
	for _, at := range all {
		switch at.Keyword {
		case strings.ToLower(at.Keyword):
			lower++
		case strings.ToUpper(at.Keyword):
			upper++
		}
	}
	want, casing := strings.ToUpper, "uppercase"
	if lower > upper {
		want, casing = strings.ToLower, "lowercase"
	}
	for _, p := range all {
		if want(p.Keyword) != p.Keyword {
			at := *p
			at.Comments = nil
			r.Report.Add(&linter.RuleConsistentInstructionCasing, &at, linter.RuleConsistentInstructionCasing.Format(p.Keyword, casing))
		}
	}
}
