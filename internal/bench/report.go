package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A report is all figures: for each case those of each tool, builder first.
type report struct {
	settings
	machine string
	missing []string
	tools   []tool
	cases   []benchCase
	figures [][]figures
}

// miss notes that a peer could not be had, if it could not.
func (r *report) miss(name string, err error) {
	if err != nil {
		r.missing = append(r.missing, fmt.Sprintf("%s is missing: %v", name, err))
	}
}

// failure is what could not be run.
func (r *report) failure() error {
	var all []error
	for i, row := range r.figures {
		for j, f := range row {
			if f.err != nil {
				all = append(all, fmt.Errorf("%s: %s: %w", r.cases[i].title, r.tools[j].Name(), f.err))
			}
		}
	}
	return errors.Join(all...)
}

// text is the report in Markdown.
func (r *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. Wall time in ms: median (least) of %d runs of builder and %d of the others, in turns; × is a median over builder's. ", r.machine, r.runs, r.peerRuns)
	fmt.Fprintf(&b, "Memory in MiB: greatest of %d other runs, to be at most %s. ✓ and ✗ hold builder's figure against its target.\n\n", r.memRuns, mib(memoryTarget))
	head := []string{"", "target"}
	for _, t := range r.tools {
		head = append(head, t.Name())
	}
	line(&b, head)
	line(&b, slices.Repeat([]string{"---"}, len(head)))
	for i, c := range r.cases {
		times(&b, c.title, c.target, r.figures[i])
	}
	if f := r.stepStart(); f != nil {
		times(&b, "one step (21 less 1, over 20)", stepTarget, f)
	}
	for i, c := range r.cases {
		memory(&b, "memory: "+c.title, r.figures[i])
	}
	for _, m := range r.missing {
		fmt.Fprintf(&b, "\n%s\n", m)
	}
	return b.String()
}

// stepStart is the time of one more step, from the two cases that 20 steps lie
// between; nil if one was left out.
func (r *report) stepStart() (all []figures) {
	at := func(title string) int {
		return slices.IndexFunc(r.cases, func(c benchCase) bool { return c.title == title })
	}
	long, short := at(longTitle), at(shortTitle)
	if long < 0 || short < 0 {
		return nil
	}
	for i := range r.tools {
		a, b := r.figures[long][i], r.figures[short][i]
		all = append(all, figures{median: (a.median - b.median) / 20, least: (a.least - b.least) / 20, err: errors.Join(a.err, b.err)})
	}
	return all
}

func times(b *strings.Builder, title string, target time.Duration, all []figures) {
	cells := []string{title, ""}
	if target != 0 {
		cells[1] = "≤ " + millis(target)
	}
	for i, f := range all {
		cell := fmt.Sprintf("%s (%s)", millis(f.median), millis(f.least))
		switch {
		case f.err != nil:
			cell = "failed"
		case i == 0 && target != 0:
			cell += mark(f.median <= target)
		case i > 0 && all[0].median > 0:
			cell += fmt.Sprintf(" ×%.1f", float64(f.median)/float64(all[0].median))
		}
		cells = append(cells, cell)
	}
	line(b, cells)
}

func memory(b *strings.Builder, title string, all []figures) {
	cells := []string{title, "≤ " + mib(memoryTarget)}
	for i, f := range all {
		cell := mib(f.memory)
		switch {
		case f.err != nil:
			cell = "failed"
		case i == 0:
			cell += mark(f.memory <= memoryTarget)
		}
		cells = append(cells, cell)
	}
	line(b, cells)
}

func line(b *strings.Builder, cells []string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func mark(ok bool) string {
	if ok {
		return " ✓"
	}
	return " ✗"
}

func mib(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }

func millis(d time.Duration) string {
	f := float64(d) / float64(time.Millisecond)
	if f >= 100 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.1f", f)
}
