package planner

import (
	"fmt"
	"slices"
	"strings"

	"builder/image"
	"builder/parser"
)

// commit adds an entry to the history of a stage.
func (s *stage) commit(text string, layer bool) {
	s.config.History = append(s.config.History, image.History{CreatedBy: text, Comment: "buildkit.dockerfile.v0", EmptyLayer: !layer})
}

// runText is how history shows a command: with the arguments in scope in front,
// in the order in which they were declared, each with the value that the step sees.
func (s *stage) runText(args []string) string {
	var vars []string
	at := map[string]int{}
	for _, a := range s.args {
		value, ok := s.env.Get(a.name)
		if !ok {
			value = a.value
		}
		i, again := at[a.name]
		if !again {
			i = len(vars)
			at[a.name] = i
			vars = append(vars, "")
		}
		vars[i] = a.name + "=" + value
	}
	if len(vars) > 0 {
		vars = slices.Insert(vars, 0, fmt.Sprintf("|%d", len(vars)))
	}
	return strings.Join(append(vars, args...), " ")
}

// copyText is how history shows COPY and ADD: with the paths as they were
// written, variables replaced.
func copyText(add, parents bool, op Copy, dest string) string {
	var b strings.Builder
	b.WriteString("COPY")
	if add {
		b.Reset()
		b.WriteString("ADD")
	}
	if parents {
		b.WriteString(" --parents")
	}
	if op.Chown != "" {
		b.WriteString(" --chown=" + op.Chown)
	}
	if op.Chmod != "" {
		b.WriteString(" --chmod=" + op.Chmod)
	}
	for _, source := range op.Sources {
		b.WriteString(" " + source)
	}
	for _, f := range op.Files {
		b.WriteString(" <<" + f.Name)
	}
	b.WriteString(" " + dest)
	return b.String()
}

// pairsText is how history shows ENV and LABEL.
func pairsText(keyword string, pairs []parser.Pair) string {
	for _, v := range pairs {
		keyword += " " + v.Name + "=" + v.Value
	}
	return keyword
}

// complete makes a history agree with the layers, named as BuildKit names them:
// a base may come with less history than it has layers, or with more. Entries
// that are missing are put at the end, after BuildKit.
func complete(history []image.History, layers []string) []image.History {
	history = slices.Clone(history)
	n := 0
	for i := range history {
		if history[i].EmptyLayer {
			continue
		}
		if n >= len(layers) {
			history[i].EmptyLayer = true
			continue
		}
		n++
	}
	for _, name := range layers[n:] {
		history = append(history, image.History{CreatedBy: name, Comment: "buildkit.exporter.image.v0"})
	}
	return history
}
