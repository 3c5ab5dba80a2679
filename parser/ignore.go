package parser

import (
	"strings"

	"github.com/moby/patternmatcher/ignorefile"
)

// ParseIgnore reads an ignore file (.dockerignore) and returns its patterns in
// their order: comments and empty lines dropped, paths cleaned, "!" in front of
// those that include again.
func ParseIgnore(text string) ([]string, error) {
	return ignorefile.ReadAll(strings.NewReader(text))
}
