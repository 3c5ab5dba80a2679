package planner

import (
	"slices"

	"builder/parser"
)

// triggers puts the ONBUILD instructions of a stage's base in front of its own,
// once. It reports whether they copy from something that may have to be resolved.
// An image that is only copied from runs no triggers, so they can ask for no
// images either: otherwise two images could name each other for ever.
func (p *plan) triggers(s *stage) (more bool, err error) {
	if s.triggered || s.loose {
		return false, nil
	}
	s.triggered = true
	texts := s.config.Config.OnBuild
	if s.base != nil {
		texts = nil
		for _, c := range s.base.commands {
			if o, ok := c.Instruction.(*parser.OnBuild); ok {
				texts = append(texts, o.Trigger)
			}
		}
	}
	s.config.Config.OnBuild = nil
	added := make([]command, len(texts))
	for i, text := range texts {
		in, err := parser.ParseTrigger(text, s.Span)
		if err != nil {
			return false, err
		}
		added[i] = command{Instruction: in, trigger: true}
		if err := p.source(s, &added[i]); err != nil {
			return false, err
		}
		more = more || added[i].from != nil || len(added[i].mounts) > 0
	}
	s.commands = slices.Concat(added, s.commands)
	s.steps += len(added)
	return more, nil
}
