package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A benchCase is one thing that a user waits for.
type benchCase struct {
	title  string
	recipe string        // "" is the start-up alone
	tree   string        // the context
	cold   bool          // nothing but the base is known; else all is cached
	hits   int           // steps that a cached rebuild must find in the cache
	target time.Duration // 0 is none
}

// The targets of every case's memory, in bytes, and of one more step.
const (
	memoryTarget = 100 << 20
	stepTarget   = 8 * ms
)

// recipes are the texts by name; %s is the base's name.
var recipes = map[string]string{
	"base":    baseRecipe,
	"wake":    wakeRecipe,
	"ten":     tenSteps,
	"copy":    copyAll,
	"copyrun": copyAndRun,
	"shell20": steps(20, "true"),
	"true21":  steps(21, `["/bin/true"]`),
	"true1":   steps(1, `["/bin/true"]`),
}

const ms = time.Millisecond

// The cases of the step start: 20 steps lie between the two.
const longTitle, shortTitle = "21 × `RUN [\"/bin/true\"]`, cold", "1 × `RUN [\"/bin/true\"]`, cold"

func cases(files int) []benchCase {
	many := thousands(files)
	return []benchCase{
		{title: "start-up (`version`)"},
		{title: "10 steps, cached", recipe: "ten", tree: "small", hits: 10, target: 25 * ms},
		{title: "COPY of " + many + " files, cached", recipe: "copy", tree: "large", hits: 1, target: 250 * ms},
		{title: "20 × `RUN true`, cold", recipe: "shell20", tree: "small", cold: true, target: 500 * ms},
		{title: shortTitle, recipe: "true1", tree: "small", cold: true},
		{title: longTitle, recipe: "true21", tree: "small", cold: true},
		{title: "COPY of " + many + " files, cold", recipe: "copy", tree: "large", cold: true, target: 1500 * ms},
		{title: "the same and a RUN, cold", recipe: "copyrun", tree: "large", cold: true},
	}
}

// write puts recipes and contexts in place.
func write(p place, s settings) error {
	for name, text := range recipes {
		if name != "base" {
			text = fmt.Sprintf(text, p.base)
		}
		if err := os.MkdirAll(filepath.Dir(p.recipe(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p.recipe(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	busybox, err := os.ReadFile(s.busybox)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.tree("base"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.tree("base"), "busybox"), busybox, 0o755); err != nil {
		return err
	}
	if err := writeFiles(p.tree("small"), 300); err != nil {
		return err
	}
	return writeFiles(p.tree("large"), s.files)
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
