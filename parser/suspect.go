package parser

import (
	"slices"
	"strconv"
	"strings"

	"builder/internal/diag"
)

// suspect adds what is most probably wrong too to the faults of a recipe that
// is refused anyway. In a recipe without other faults these are for the
// planner, who knows what is built and which images there are.
func (r *reader) suspect(recipe *Recipe) {
	var names []string
	for _, s := range recipe.Stages {
		if s.Name != "" {
			names = append(names, s.Name)
		}
	}
	for _, s := range recipe.Stages {
		for _, in := range s.Instructions {
			switch in := in.(type) {
			case *Copy:
				r.suspectStage(in, names)
			case *Expose:
				r.suspectPorts(in)
			}
		}
	}
}

// suspectStage looks for a misspelt stage.
func (r *reader) suspectStage(c *Copy, names []string) {
	if _, err := strconv.Atoi(c.From); err == nil || c.From == "" {
		return
	}
	from := strings.ToLower(c.From)
	if near := diag.Nearest(from, names); near != "" && !slices.Contains(names, from) {
		r.faults.Add(diag.Errorf(c.Find("--from="+c.From), "no stage named %q", c.From).WithHint("did you mean %q?", near))
	}
}

// suspectPorts looks for ports that no variable can mend.
func (r *reader) suspectPorts(e *Expose) {
	for _, port := range e.Ports {
		if strings.ContainsAny(port, "$\"'\\`") {
			continue
		}
		if _, err := ParsePort(port); err != nil {
			r.faults.Add(diag.Errorf(e.Find(port), "%s", err).WithHint(PortHint))
		}
	}
}
