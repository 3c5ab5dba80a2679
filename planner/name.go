package planner

import (
	"fmt"
	"math"

	"github.com/containerd/platforms"

	"builder/image"
)

// name puts the stage and the number of a step in front of its text, as
// BuildKit does: "[build 2/5] RUN make".
func (p *plan) name(s *stage, text string, trigger bool) string {
	if s.steps == 0 {
		return text
	}
	prefix := "["
	if p.ShowPlatform {
		prefix += platforms.FormatAll(s.platform) + cross(s.platform, s.env) + " "
	}
	if s.shown != "" {
		prefix += s.shown + " "
	}
	s.step++
	prefix += fmt.Sprintf("%*d/%d] ", int(1+math.Log10(float64(s.steps))), s.step, s.steps)
	if trigger {
		prefix += "ONBUILD "
	}
	return prefix + text
}

// cross says for what platform a step compiles, if its environment tells and it
// is another one: "->arm64".
func cross(on image.Platform, vars env) string {
	target, ok := targetOf(vars)
	if !ok {
		return ""
	}
	if target.OS == "" {
		target.OS = on.OS
	}
	if target.Architecture == "" {
		target.Architecture = on.Architecture
	}
	target = platforms.Normalize(target)
	switch {
	case target.OS != on.OS:
		return "->" + platforms.FormatAll(target)
	case target.Architecture == on.Architecture:
		return ""
	case target.Variant != "":
		return "->" + target.Architecture + "/" + target.Variant
	default:
		return "->" + target.Architecture
	}
}

func targetOf(vars env) (target image.Platform, ok bool) {
	for _, v := range vars.vars {
		switch v.Name {
		case "TARGETPLATFORM":
			if p, err := platforms.Parse(v.Value); err == nil {
				return p, true
			}
		case "TARGETOS":
			target.OS, ok = v.Value, true
		case "TARGETARCH":
			target.Architecture, ok = v.Value, true
		case "TARGETVARIANT":
			target.Variant, ok = v.Value, true
		}
	}
	return target, ok
}
