package planner

import (
	"fmt"

	"builder/internal/diag"
	"builder/parser"
)

// expose plans EXPOSE. A variable may hold several ports.
func (p *plan) expose(s *stage, e *parser.Expose) error {
	var ports []string
	for _, text := range e.Ports {
		words, err := p.lexer(&e.Place).ProcessWords(text, s.env)
		if err != nil {
			return diag.Errorf(e.Find(text), "%s", err)
		}
		for _, word := range words {
			p.checkPort(word)
			found, err := parser.ParsePort(word)
			if err != nil {
				return diag.Errorf(e.Find(text), "%s", err).WithHint(parser.PortHint)
			}
			ports = append(ports, found...)
		}
	}
	if s.config.Config.ExposedPorts == nil {
		s.config.Config.ExposedPorts = map[string]struct{}{}
	}
	for _, port := range ports {
		s.config.Config.ExposedPorts[port] = struct{}{}
	}
	s.commit(fmt.Sprintf("EXPOSE %v", ports), false)
	return nil
}
