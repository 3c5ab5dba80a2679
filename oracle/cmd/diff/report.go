package main

import (
	"fmt"
	"strings"
	"time"

	"builder/oracle/recipe"
)

// outcome is what became of one case.
type outcome struct {
	err         error    // the case could not be run, or the oracle disagrees with the case
	differences []string // all, the expected ones too
	message     string   // of refusals
	took        time.Duration
}

// report prints each case's outcome in the order of cases as it comes in, and
// returns whether all are as they should be.
func report(s *settings, cases []*recipe.Case, outcomes []chan outcome, begin time.Time) bool {
	var same, expected, different, failed int
	for i, c := range cases {
		o := <-outcomes[i]
		var bad, good []string
		for _, d := range o.differences {
			if s.call == "" && c.Expected(d) {
				good = append(good, d)
			} else {
				bad = append(bad, d)
			}
		}
		if c.Differs != "" && len(o.differences) == 0 && o.err == nil && !s.oracleOnly && !s.twice && s.call == "" {
			bad = append(bad, "declared as a difference, but there is none: "+c.Differs)
		}
		switch {
		case o.err != nil:
			failed++
			fmt.Printf("FAIL    %s (%s)\n    %s\n", c.Name, brief(o.took), indent(o.err.Error()))
		case len(bad) > 0:
			different++
			fmt.Printf("DIFF    %s (%s)\n", c.Name, brief(o.took))
			for _, d := range bad {
				fmt.Printf("    %s\n", indent(d))
			}
		case len(good) > 0:
			expected++
			fmt.Printf("differs %s (%s): %s\n", c.Name, brief(o.took), c.Differs)
		default:
			same++
			fmt.Printf("ok      %s (%s)\n", c.Name, brief(o.took))
		}
		if s.verbose {
			for _, d := range good {
				fmt.Printf("    expected: %s\n", indent(d))
			}
			if o.message != "" {
				fmt.Printf("    %s\n", indent(o.message))
			}
		}
	}
	fmt.Printf("%d cases: %d ok, %d differ as expected, %d differ, %d failed; %s\n",
		len(cases), same, expected, different, failed, brief(time.Since(begin)))
	return different+failed == 0
}

func brief(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

func indent(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ") }
