package parser

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"builder/internal/diag"
)

// newest is the version 1.N of docker/dockerfile whose language this package reads.
const newest = 26

// version is a tag of docker/dockerfile, digest what may follow it.
var (
	version = regexp.MustCompile(`^(?:1(?:\.(\d+)(?:\.\d+)?(?:-rc\d+)?)?(?:-labs|-experimental)?|master(?:-labs|-experimental)?|latest|labs|experimental)$`)
	digest  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// Frontend says what a syntax directive or BUILDKIT_SYNTAX asks for. extended is
// this program's own language, the Dockerfile's with INCLUDE and --optional. The
// error says why what is named is not read here.
func Frontend(name string) (extended bool, err *diag.Error) {
	switch {
	case name == "builder" || name == "builder/1":
		return true, nil
	case strings.HasPrefix(name, "builder/"):
		return false, diag.Errorf(diag.Span{}, "frontend %q is not supported", name).WithHint("this is builder/1")
	}
	short, sum, pinned := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(name, "index."), "docker.io/"), "@")
	short, tag, tagged := strings.Cut(short, ":")
	if short != "docker/dockerfile" && short != "docker/dockerfile-upstream" {
		return false, diag.Errorf(diag.Span{}, "frontend %q is not supported", name).
			WithHint("recipes in the language of docker/dockerfile are read without a frontend; leave the syntax line out")
	}
	if pinned && !digest.MatchString(sum) {
		return false, diag.Errorf(diag.Span{}, "frontend %q has no digest after the @", name).WithHint("leave the syntax line out, or write sha256: and 64 hexadecimal digits")
	}
	if !tagged {
		return false, nil
	}
	m := version.FindStringSubmatch(tag)
	if m == nil {
		return false, diag.Errorf(diag.Span{}, "frontend %q is not supported", name).WithHint("the tags of docker/dockerfile are 1, 1.0 to 1.%d, and labs", newest)
	}
	if minor, err := strconv.Atoi(m[1]); m[1] != "" && (err != nil || minor > newest) {
		return false, diag.Errorf(diag.Span{}, "frontend %q is newer than what is read here", name).WithHint("that is docker/dockerfile:1.%d", newest)
	}
	return false, nil
}

// declared looks at the directives for the build as a whole.
func (r *reader) declared() {
	if r.syntax != nil {
		name, _, _ := strings.Cut(strings.TrimSpace(*r.syntax), " ")
		extended, fault := Frontend(name)
		if fault != nil {
			fault.Message = "build argument BUILDKIT_SYNTAX: " + fault.Message
			fault.Hint = strings.Replace(fault.Hint, "the syntax line", "it", 1)
			r.faults.Add(fault)
		}
		r.extended = r.extended || extended
		return
	}
	ref, _, at, ok := parser.DetectSyntax([]byte(r.file.Text))
	if !ok {
		return
	}
	extended, fault := Frontend(ref)
	if fault != nil {
		fault.Span = r.find(max(first(at), 1), ref)
		r.faults.Add(fault)
	}
	r.extended = r.extended || extended
}

// extensionHint is the remedy for what only builder/1 has.
func (r *reader) extensionHint() string {
	if r.syntax != nil {
		return "the build argument BUILDKIT_SYNTAX asks for another language than builder/1"
	}
	return `put "# syntax=builder/1" on the first line: a plain Dockerfile stays one`
}

// optional takes --optional out of the flags of COPY or ADD, for BuildKit's package
// does not know it.
func (r *reader) optional(node *parser.Node, at Place) (optional bool) {
	kept := node.Flags[:0:0]
	seen := false
	for _, flag := range node.Flags {
		name, value, given := strings.Cut(flag, "=")
		if name != "--optional" {
			if r.extended && strings.HasPrefix(name, "--") && diag.Nearest(name, Flags(at.Keyword)) == "" && diag.Nearest(name, []string{"--optional"}) != "" {
				r.faults.Add(diag.Errorf(at.Find(name), "unknown flag %q", name).WithHint("did you mean %q?", "--optional"))
				continue
			}
			kept = append(kept, flag)
			continue
		}
		if !r.extended {
			r.faults.Add(diag.Errorf(at.Find(flag), "unknown flag %q", name).WithHint("%s", r.extensionHint()))
			continue
		}
		if seen {
			r.faults.Add(diag.Errorf(at.findNth(name, 1), "duplicate flag specified: %s", name))
		}
		seen = true
		value = strings.ToLower(value)
		if optional = !given || value == "true"; !optional && value != "false" {
			r.faults.Add(diag.Errorf(at.Find(flag), "--optional is true or false, not %q", value))
		}
	}
	node.Flags = kept
	return optional
}

// extends reports whether a trigger is of this program's own language.
func (r *reader) extends(node *parser.Node) bool {
	if node.Next == nil || len(node.Next.Children) == 0 {
		return false
	}
	trigger := node.Next.Children[0]
	return strings.EqualFold(trigger.Value, "INCLUDE") || slices.ContainsFunc(trigger.Flags, func(f string) bool { return strings.HasPrefix(f, "--optional") })
}
