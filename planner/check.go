package planner

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/util/system"
	"github.com/moby/patternmatcher"

	"builder/image"
	"builder/internal/diag"
	"builder/parser"
)

// doing is the instruction that is being planned.
type doing struct {
	stage *stage
	at    *parser.Place
}

// chooseChecks reads which checks count: the build argument outranks the
// recipe's directive.
func (p *plan) chooseChecks() error {
	text, at := p.recipe.Check, p.recipe.CheckSpan
	if given, ok := p.BuildArgs["BUILDKIT_DOCKERFILE_CHECK"]; ok {
		text, at = given, diag.Span{}
	}
	var err error
	if p.checks, err = parser.ParseChecks(text); err != nil {
		e := diag.Errorf(at, "%s", err)
		if at.IsZero() {
			e = diag.Errorf(at, "build argument BUILDKIT_DOCKERFILE_CHECK: %s", err)
		}
		return e.WithHint("write skip=RULE,…;error=true, or skip=all")
	}
	return nil
}

// Warn hands on what the checks found in a recipe that cannot be planned: what
// stands before its first fault.
func Warn(r *parser.Recipe, o Options) {
	p := &plan{Options: o, recipe: r}
	if err := p.chooseChecks(); err == nil {
		_ = p.tell() // the recipe is refused anyway
	}
}

// tell hands on what the checks found. It returns an error where warnings are to
// be errors.
func (p *plan) tell() error {
	all := p.recipe.Report
	all.Join(p.report)
	chosen := p.checks.Choose(all)
	if p.Warn != nil {
		for _, w := range chosen {
			p.Warn(w)
		}
	}
	return p.checks.Err(chosen)
}

// checkDefaults looks whether each FROM names an image if no build argument is
// given.
func (p *plan) checkDefaults() {
	vars := p.platformArgs()
	for _, a := range p.recipe.Args {
		for _, arg := range a.Args {
			if arg.Default == nil {
				continue
			}
			value, _, err := p.lexer(&a.Place).ProcessWord(*arg.Default, vars)
			if err != nil {
				return
			}
			vars.set(arg.Name, value)
		}
	}
	for _, s := range p.recipe.Stages {
		name, _, err := p.lexer(&s.Place).ProcessWord(s.Base, vars)
		if err != nil {
			return
		}
		if _, err := image.ParseReference(name); err != nil && name != scratch {
			at := s.Place
			at.Comments = nil
			p.report.Add(&linter.RuleInvalidDefaultArgInFrom, &at, linter.RuleInvalidDefaultArgInFrom.Format(s.Base))
		}
	}
}

// checkArguments looks for variables of FROM that nobody declares.
func (p *plan) checkArguments(text string, at *parser.Place) {
	_, unmatched, err := p.lexer(at).ProcessWord(text, p.global)
	if err != nil && len(unmatched) == 0 {
		return
	}
	known := p.global.Keys()
	for _, a := range p.recipe.Args {
		for _, arg := range a.Args {
			known = append(known, arg.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unmatched)) {
		if !slices.Contains(known, name) {
			p.report.Add(&linter.RuleUndefinedArgInFrom, at, linter.RuleUndefinedArgInFrom.Format(name, near(name, known)))
		}
	}
}

// checkPlatformFlag looks at FROM --platform.
func (p *plan) checkPlatformFlag(from *parser.Stage) {
	p.checkArguments(from.Platform, &from.Place)
	match, err := p.lexer(&from.Place).ProcessWordWithMatches(from.Platform, p.global)
	if err != nil {
		return
	}
	const target = "TARGETPLATFORM"
	if _, ok := match.Matched[target]; ok && len(match.Matched) == 1 && len(match.Unmatched) == 0 {
		if value, _ := p.global.Get(target); match.Result == value {
			p.report.Add(&linter.RuleRedundantTargetPlatform, &from.Place, linter.RuleRedundantTargetPlatform.Format(from.Platform))
		}
	}
	if len(match.Matched) > 0 || len(match.Unmatched) > 0 {
		return
	}
	platform, err := platforms.Parse(match.Result)
	if err == nil && !strings.Contains(from.Name, platform.OS) && !strings.Contains(from.Name, platform.Architecture) {
		p.report.Add(&linter.RuleFromPlatformFlagConstDisallowed, &from.Place, linter.RuleFromPlatformFlagConstDisallowed.Format(match.Result))
	}
}

// checkBasePlatform looks whether a base is for the platform that it was asked for.
func (p *plan) checkBasePlatform(s *stage, is image.Platform) {
	want := s.platform
	if want.OS == is.OS && want.Architecture == is.Architecture {
		return
	}
	at := s.Place
	at.Comments = nil
	expected, actual := platforms.FormatAll(platforms.Normalize(want)), platforms.FormatAll(platforms.Normalize(is))
	p.report.Add(&linter.RuleInvalidBaseImagePlatform, &at, linter.RuleInvalidBaseImagePlatform.Format(s.ref, expected, actual))
}

// checkUndefined looks at variables that are used and not defined, but for ARGs
// without a value.
func (p *plan) checkUndefined(unmatched map[string]struct{}, vars env, at *parser.Place) {
	if p.doing == nil || len(unmatched) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(unmatched)) {
		declared := slices.ContainsFunc(p.doing.stage.args, func(a argument) bool { return a.name == name })
		if declared || scanArgument(name) {
			continue
		}
		p.report.Add(&linter.RuleUndefinedVar, at, linter.RuleUndefinedVar.Format(name, near(name, vars.Keys())))
	}
}

// scanArgument reports whether a build argument is one that steps do not see.
func scanArgument(name string) bool {
	return name == "BUILDKIT_SBOM_SCAN_CONTEXT" || name == "BUILDKIT_SBOM_SCAN_STAGE"
}

func (p *plan) checkWorkdir(s *stage, dir string) {
	if !s.workdirs && !system.IsAbs(dir, s.platform.OS) {
		p.report.Add(&linter.RuleWorkdirRelativePath, p.doing.at, linter.RuleWorkdirRelativePath.Format(dir))
	}
	s.workdirs = true
}

// checkOnce looks at the instructions of which the last one counts, and at how
// they are written.
func (p *plan) checkOnce(s *stage, in parser.Instruction) {
	var last **parser.Place
	shell := false
	switch in := in.(type) {
	case *parser.Cmd:
		last, shell = &s.cmd, in.Shell
	case *parser.Entrypoint:
		last, shell = &s.entrypoint, in.Shell
	case *parser.Healthcheck:
		last = &s.healthcheck
	default:
		return
	}
	at := in.Source()
	if *last != nil {
		// The one before is the one that does not count.
		before := **last
		before.Comments = at.Comments
		p.report.Add(&linter.RuleMultipleInstructionsDisallowed, &before, linter.RuleMultipleInstructionsDisallowed.Format(at.Keyword))
	}
	*last = at
	if shell && len(s.config.Config.Shell) == 0 {
		p.report.Add(&linter.RuleJSONArgsRecommended, at, linter.RuleJSONArgsRecommended.Format(at.Keyword))
	}
}

func (p *plan) checkLegacy(v parser.Pair) {
	if v.Legacy {
		keyword := p.doing.at.Keyword
		p.report.Add(&linter.RuleLegacyKeyValueFormat, p.doing.at, linter.RuleLegacyKeyValueFormat.Format(keyword))
	}
}

// checkSecret looks whether a variable's name says that it holds a secret.
func (p *plan) checkSecret(instruction, name string) {
	if SaysSecret(name) {
		p.report.Add(&linter.RuleSecretsUsedInArgOrEnv, p.doing.at, linter.RuleSecretsUsedInArgOrEnv.Format(instruction, name))
	}
}

// SaysSecret reports whether a variable's name says that it holds a secret.
func SaysSecret(name string) bool {
	secret, harmless := secretWords()
	return secret.MatchString(name) && !harmless.MatchString(name)
}

// secretWords match names with a word that says secret, and those with one that
// takes it back.
var secretWords = sync.OnceValues(func() (secret, harmless *regexp.Regexp) {
	word := func(words string) *regexp.Regexp { return regexp.MustCompile(`(?i)(?:_|^)(?:` + words + `)(?:_|$)`) }
	return word("apikey|auth|credential|credentials|key|password|pword|passwd|secret|token"), word("public|file|version")
})

func (p *plan) checkPort(text string) {
	capitals, mapped := parser.PortStyle(text)
	if capitals {
		p.report.Add(&linter.RuleExposeProtoCasing, p.doing.at, linter.RuleExposeProtoCasing.Format(text))
	}
	if mapped {
		p.report.Add(&linter.RuleExposeInvalidFormat, p.doing.at, linter.RuleExposeInvalidFormat.Format(text))
	}
}

// checkIgnored looks whether a source is one that the ignore file excludes. Where
// that has exceptions nobody can say.
func (p *plan) checkIgnored(c *parser.Copy, source string) {
	if len(p.Ignore) == 0 {
		return
	}
	ignore, err := patternmatcher.New(p.Ignore)
	if err != nil || ignore.Exclusions() {
		return
	}
	source = path.Clean(source)
	if (source == "." || source == "/") && !slices.ContainsFunc(p.Ignore, func(s string) bool { return s == "*" || s == "**" || s == "**/*" }) {
		return
	}
	if ignored, err := ignore.MatchesOrParentMatches(source); err != nil || !ignored {
		return
	}
	verb := "Copy"
	if c.Add {
		verb = "Add"
	}
	p.report.Add(&linter.RuleCopyIgnoredFile, &c.Place, linter.RuleCopyIgnoredFile.Format(verb, source))
}

// near is the name that another is a misspelling of: the first of those that are
// at most two letters away and nearest; empty where there is none.
func near(name string, known []string) string {
	best, limit := "", 3
	for _, k := range known {
		if k == name {
			return ""
		}
		if d := diag.Edits(name, k); d < limit {
			best, limit = k, d
		}
	}
	return best
}
