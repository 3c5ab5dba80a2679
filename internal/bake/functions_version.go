package bake

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// semvercmp reports whether a version fits a constraint: alternatives with || between them, of
// conditions with commas or spaces between them, =, !=, >, <, >=, <=, ~ and ^, and x for any number.
// https://semver.org/spec/v2.0.0.html
var semvercmp = ofTextsTo([]string{"version", "constraint"}, cty.Bool, func(a []string) (cty.Value, error) {
	v, err := parseVersion(a[0])
	if err != nil {
		return cty.NilVal, err
	}
	if v.numbers < 1 {
		return cty.NilVal, fmt.Errorf("%q is no version", a[0])
	}
	for alternative := range strings.SplitSeq(a[1], "||") {
		fits, err := v.fits(alternative)
		if err != nil {
			return cty.NilVal, err
		}
		if fits {
			return cty.True, nil
		}
	}
	return cty.False, nil
})

// semver is a version; numbers is how many of its three numbers were given.
type semver struct {
	n       [3]int
	numbers int
	pre     string
}

var (
	versionForm    = pattern(`^v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$`)
	conditionForm  = pattern(`(!=|>=|=>|<=|=<|=|>|<|~>|~|\^)?\s*(v?[0-9xX*][0-9A-Za-z.+*-]*)`)
	hyphenatedForm = pattern(`^\s*(\S+)\s+-\s+(\S+)\s*$`)
)

func parseVersion(text string) (semver, error) {
	m := versionForm().FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return semver{}, fmt.Errorf("%q is no version", text)
	}
	v := semver{pre: m[4]}
	for i := range 3 {
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			break // any
		}
		v.n[i], v.numbers = n, i+1
	}
	return v, nil
}

// fits reports whether a version meets all conditions.
func (v semver) fits(text string) (bool, error) {
	if m := hyphenatedForm().FindStringSubmatch(text); m != nil {
		text = ">=" + m[1] + " <=" + m[2]
	}
	rest := strings.Trim(conditionForm().ReplaceAllString(text, ""), ", \t")
	if rest != "" || strings.TrimSpace(text) == "" {
		return false, fmt.Errorf("%q is no constraint of versions", text)
	}
	for _, m := range conditionForm().FindAllStringSubmatch(text, -1) {
		c, err := parseVersion(m[2])
		if err != nil {
			return false, err
		}
		if v.pre != "" && c.pre == "" && m[1] != "!=" {
			return false, nil // what is not out yet is asked for by name
		}
		if !v.meets(m[1], c) {
			return false, nil
		}
	}
	return true, nil
}

func (v semver) meets(op string, c semver) bool {
	same := v.within(c, c.numbers)
	order := v.compare(c)
	switch op {
	case "!=":
		return !(same && (c.numbers < 3 || order == 0))
	case ">":
		return order > 0 && !(c.numbers < 3 && same)
	case "<":
		return order < 0
	case ">=", "=>":
		return order >= 0
	case "<=", "=<":
		return order <= 0 || c.numbers < 3 && same
	case "~", "~>":
		return order >= 0 && v.within(c, min(c.numbers, 2))
	case "^":
		first := 0
		for first < c.numbers-1 && c.n[first] == 0 {
			first++
		}
		return order >= 0 && v.within(c, min(first+1, c.numbers))
	default:
		return same && (c.numbers < 3 || order == 0)
	}
}

// within reports whether the first numbers are the same.
func (v semver) within(c semver, numbers int) bool {
	for i := range numbers {
		if v.n[i] != c.n[i] {
			return false
		}
	}
	return true
}

// compare orders versions: semver.org, 11.
func (v semver) compare(c semver) int {
	for i := range 3 {
		if v.n[i] != c.n[i] {
			return cmp.Compare(v.n[i], c.n[i])
		}
	}
	switch {
	case v.pre == c.pre:
		return 0
	case v.pre == "":
		return 1
	case c.pre == "":
		return -1
	}
	a, b := strings.Split(v.pre, "."), strings.Split(c.pre, ".")
	for i := range min(len(a), len(b)) {
		x, errX := strconv.Atoi(a[i])
		y, errY := strconv.Atoi(b[i])
		switch {
		case errX == nil && errY == nil && x != y:
			return cmp.Compare(x, y)
		case errX == nil && errY != nil:
			return -1
		case errX != nil && errY == nil:
			return 1
		case a[i] != b[i]:
			return strings.Compare(a[i], b[i])
		}
	}
	return cmp.Compare(len(a), len(b))
}
