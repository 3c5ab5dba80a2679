package parser

import (
	"fmt"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"builder/internal/diag"
)

// ParseIgnore reads an ignore file (.dockerignore) and returns its patterns in
// their order: comments and empty lines dropped, paths cleaned, "!" in front of
// those that include again. The error is a [diag.List] of the patterns that
// nothing can match.
func ParseIgnore(f *diag.File) ([]string, error) {
	patterns, err := ignorefile.ReadAll(strings.NewReader(f.Text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	if _, err := patternmatcher.New(patterns); err == nil {
		return patterns, nil
	}
	r := newReader(f)
	for i, line := range r.lines {
		pattern, err := ignorefile.ReadAll(strings.NewReader(line))
		if err == nil {
			_, err = patternmatcher.New(pattern)
		}
		if err != nil {
			r.faults.Add(diag.Errorf(r.span(i+1, i+1), "%s", err))
		}
	}
	return nil, r.faults.Err()
}
