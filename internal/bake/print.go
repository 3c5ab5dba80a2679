package bake

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// JSON writes a selection as docker's bake prints it.
func (s *Selection) JSON() ([]byte, error) {
	type groupJSON struct {
		Targets []string `json:"targets"`
	}
	groups := map[string]groupJSON{}
	for name, targets := range s.Groups {
		groups[name] = groupJSON{targets}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Group  map[string]groupJSON `json:"group,omitempty"`
		Target map[string]*Target   `json:"target"`
	}{groups, s.Targets})
	return b.Bytes(), err
}

// Listed is a target or a group with what is said of it.
type Listed struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Group       bool     `json:"group,omitempty"`
	Targets     []string `json:"targets,omitempty"`
}

// List returns all groups and targets, by name.
func (d *Definition) List() []Listed {
	var all []Listed
	for _, name := range slices.Sorted(maps.Keys(d.groups)) {
		all = append(all, Listed{Name: name, Description: d.groups[name].description, Group: true, Targets: d.groups[name].targets})
	}
	for _, name := range slices.Sorted(maps.Keys(d.targets)) {
		l := Listed{Name: name}
		if said := d.targets[name].Description; said != nil {
			l.Description = *said
		}
		all = append(all, l)
	}
	return all
}
