package fileop

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"

	"builder/image/layer"
	"builder/planner"
)

// filter says which of the paths below a source are copied: those that the
// pattern of --parents matches, without those that --exclude does. A pattern
// matches with a directory all that is in it.
type filter struct {
	include *patternmatcher.PatternMatcher // nil is everything
	exclude *patternmatcher.PatternMatcher // nil is nothing
	pattern []string                       // the components of include, if one can be looked at alone
	exact   bool                           // include is a path: it has to be there
	found   bool
}

// newFilter returns the filter of op's source i; nil lets everything pass.
func newFilter(op planner.Copy, i int) (*filter, error) {
	if len(op.Exclude) == 0 && op.Include == nil {
		return nil, nil
	}
	var f filter
	var err error
	if len(op.Exclude) > 0 {
		if f.exclude, err = patternmatcher.New(op.Exclude); err != nil {
			return nil, fmt.Errorf("invalid pattern of --exclude: %w", err)
		}
	}
	if op.Include != nil {
		pattern := op.Include[i]
		if f.include, err = patternmatcher.New([]string{pattern}); err != nil {
			return nil, fmt.Errorf("invalid source %q: %w", pattern, err)
		}
		// As the matcher reads it. It takes some characters as a regular expression
		// does: then components alone say nothing.
		if clean := path.Clean(strings.TrimSpace(pattern)); !strings.ContainsAny(clean, `[]\|()+{}^$`) {
			f.pattern = strings.Split(clean, "/")
		}
		f.exact = !hasWildcard(pattern) && !hasWildcard(op.Sources[i])
	}
	return &f, nil
}

// missing reports whether a path that has to be there was not found.
func (f *filter) missing() bool { return f != nil && f.exact && !f.found }

// verdict is what the patterns say of a directory: paths in it follow.
type verdict struct {
	include, exclude patternmatcher.MatchInfo
}

// judge says of a path below the source whether it is copied, and what that
// means for what is in it.
func (f *filter) judge(rel string, above verdict) (chosen, excluded bool, v verdict, err error) {
	chosen = true
	if f.include != nil {
		if chosen, v.include, err = f.include.MatchesUsingParentResults(rel, above.include); err != nil {
			return false, false, v, err
		}
	}
	if f.exclude != nil {
		if excluded, v.exclude, err = f.exclude.MatchesUsingParentResults(rel, above.exclude); err != nil {
			return false, false, v, err
		}
	}
	chosen = chosen && !excluded
	f.found = f.found || chosen
	return chosen, excluded, v, nil
}

// enters reports whether something in a directory that is not chosen itself
// may be.
func (f *filter) enters(rel string, excluded bool) bool {
	if excluded && !f.exclude.Exclusions() {
		return false
	}
	if f.include == nil || f.include.Exclusions() || f.pattern == nil {
		return true
	}
	for i, name := range strings.Split(rel, "/") {
		if i >= len(f.pattern) {
			return excluded // what is in it was chosen, and is again by an exception
		}
		part := f.pattern[i]
		if strings.Contains(part, "**") {
			return true
		}
		if ok, err := filepath.Match(part, name); err == nil && !ok {
			return false
		}
	}
	return true
}

// takeSome takes what the filter leaves of a directory. A directory that is not
// chosen is passed through if something in it is.
func (s *Selection) takeSome(src layer.View, dir, rel string, chosen *filter, above verdict) error {
	for _, e := range src.ReadDir(dir) {
		inner := join(rel, path.Base(e.Path))
		ok, excluded, v, err := chosen.judge(inner, above)
		if err != nil {
			return err
		}
		if e.Type != layer.Dir {
			if ok {
				s.take(e)
			}
			continue
		}
		if !ok && !chosen.enters(inner, excluded) {
			continue
		}
		at, passed := len(s.entries), len(s.passed)
		s.take(e)
		if !ok {
			s.passed = append(s.passed, at)
		}
		if err := s.takeSome(src, e.Path, inner, chosen, v); err != nil {
			return err
		}
		if !ok && len(s.entries) == at+1 {
			s.entries, s.passed = s.entries[:at], s.passed[:passed]
		}
	}
	return nil
}

// passes reports whether the directory at index i is only passed through.
func (s *Selection) passes(i int) bool {
	for lo, hi := 0, len(s.passed); lo < hi; {
		mid := (lo + hi) / 2
		switch {
		case s.passed[mid] == i:
			return true
		case s.passed[mid] < i:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return false
}
