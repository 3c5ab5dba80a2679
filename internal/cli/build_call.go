package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"builder"
	"builder/internal/diag"
	"builder/parser"
	"builder/planner"
)

// call is what build is to do with a recipe: --call.
type call struct {
	name         string // build, check, outline or targets
	json         bool
	ignoreStatus bool // warnings do not make the command fail
}

// parseCall reads --call and --check.
func parseCall(text string, check bool) (call, error) {
	c := call{name: "build"}
	if check {
		if text != "" {
			return c, usage("--call and --check are the same flag: give one of them")
		}
		text = "check"
	}
	names := []string{"build", "check", "outline", "targets"}
	for i, field := range strings.Split(text, ",") {
		key, value, given := strings.Cut(field, "=")
		switch {
		case !given && i == 0 && slices.Contains(names, key):
			c.name = key
		case !given && i == 0 && key == "lint":
			c.name = "check"
		case text == "":
		case given && key == "format" && (value == "json" || value == "text"):
			c.json = value == "json"
		case given && key == "ignorestatus":
			var err error
			if c.ignoreStatus, err = strconv.ParseBool(value); err != nil {
				return c, usage("--call: ignorestatus=%q is neither true nor false", value)
			}
		case given && key == "format":
			return c, usage("--call: format=%q is not supported", value).WithHint("text or json")
		default:
			e := usage("--call: %q is not supported", field)
			if near := diag.Nearest(key, names); near != "" {
				return c, e.WithHint("did you mean %q?", near)
			}
			return c, e.WithHint("%s, with ,format=json for programs", strings.Join(names, ", "))
		}
	}
	return c, nil
}

// answer does what was asked in place of a build, and prints it.
func (c call) answer(ctx context.Context, w io.Writer, o builder.Options) error {
	switch c.name {
	case "targets":
		recipe, err := o.Parse()
		if err != nil {
			return err
		}
		return c.targets(w, recipe)
	case "outline":
		graph, err := builder.Plan(ctx, o)
		if err != nil {
			return err
		}
		return c.outline(w, o.Recipe, graph.Outline)
	default:
		return c.check(ctx, w, o)
	}
}

// The forms in which BuildKit hands out the results of a check.
type (
	lintResults struct {
		Warnings []lintWarning `json:"warnings"`
		Sources  []lintSource  `json:"sources"`
		Error    *lintError    `json:"buildError,omitempty"`
	}
	lintWarning struct {
		Rule        string        `json:"ruleName"`
		Description string        `json:"description,omitempty"`
		URL         string        `json:"url,omitempty"`
		Detail      string        `json:"detail,omitempty"`
		Location    *lintLocation `json:"location,omitempty"`
	}
	lintSource struct {
		Filename string `json:"filename,omitempty"`
		Language string `json:"language,omitempty"`
		Data     []byte `json:"data,omitempty"`
	}
	lintError struct {
		Message  string       `json:"message"`
		Location lintLocation `json:"location"`
	}
	lintLocation struct {
		Source int         `json:"sourceIndex,omitempty"`
		Ranges []lintRange `json:"ranges,omitempty"`
	}
	lintRange struct {
		Start lintPosition `json:"start"`
		End   lintPosition `json:"end"`
	}
	lintPosition struct {
		Line int `json:"line,omitempty"`
	}
)

// linesOf gives each line of a span a range of its own, as BuildKit does.
func linesOf(s diag.Span) []lintRange {
	var list []lintRange
	for n := s.Start.Line; n > 0 && n <= max(s.End.Line, s.Start.Line); n++ {
		list = append(list, lintRange{lintPosition{n}, lintPosition{n}})
	}
	return list
}

func (c call) check(ctx context.Context, w io.Writer, o builder.Options) error {
	var warnings []parser.Warning
	o.Plan.CheckOnly = true
	o.Plan.Warn = func(w parser.Warning) { warnings = append(warnings, w) }
	_, fault := builder.Plan(ctx, o)
	if fault != nil && ctx.Err() != nil {
		return fault
	}
	if c.json {
		if err := c.checkJSON(w, o.Recipe, warnings, fault); err != nil {
			return err
		}
	} else {
		c.checkText(w, warnings, fault)
	}
	switch {
	case fault != nil && c.json:
		return &exitError{status: 1}
	case fault != nil:
		return fault
	case len(warnings) > 0 && !c.ignoreStatus:
		return &exitError{status: 1}
	}
	return nil
}

func (c call) checkJSON(w io.Writer, recipe *diag.File, warnings []parser.Warning, fault error) error {
	r := lintResults{Sources: []lintSource{{recipe.Name, "Dockerfile", []byte(recipe.Text)}}}
	files := []*diag.File{recipe}
	at := func(s diag.Span) lintLocation {
		i := slices.Index(files, s.File)
		if i < 0 && s.File != nil {
			i = len(files)
			files = append(files, s.File)
			r.Sources = append(r.Sources, lintSource{s.File.Name, "Dockerfile", []byte(s.File.Text)})
		}
		return lintLocation{max(i, 0), linesOf(s)}
	}
	for _, w := range warnings {
		where := at(w.Span)
		r.Warnings = append(r.Warnings, lintWarning{w.Rule, w.Description, w.URL, w.Text, &where})
	}
	if fault != nil {
		r.Error = &lintError{Message: fault.Error()}
		if e := firstFault(fault); e != nil {
			r.Error.Message, r.Error.Location = e.Message, at(e.Span)
		}
	}
	return writeJSON(w, r)
}

// firstFault is the first fault with a place in an error, or nil.
func firstFault(err error) *diag.Error {
	if list, ok := err.(diag.List); ok && len(list) > 0 {
		return list[0]
	}
	if e, ok := err.(*diag.Error); ok {
		return e
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", data)
	return err
}

func (c call) checkText(w io.Writer, warnings []parser.Warning, fault error) {
	switch len(warnings) {
	case 0:
		if fault == nil {
			fmt.Fprintln(w, "Check complete, no warnings found.")
		}
	case 1:
		fmt.Fprintln(w, "Check complete, 1 warning has been found!")
	default:
		fmt.Fprintf(w, "Check complete, %d warnings have been found!\n", len(warnings))
	}
	slices.SortStableFunc(warnings, func(a, b parser.Warning) int { return a.Span.Start.Line - b.Span.Start.Line })
	for _, warning := range warnings {
		fmt.Fprintf(w, "\nWARNING: %s", warning.Rule)
		if warning.URL != "" {
			fmt.Fprintf(w, " - %s", warning.URL)
		}
		fmt.Fprintf(w, "\n%s\n", warning.Text)
		writeLines(w, warning.Span)
	}
}

// writeLines shows the lines of a span among those around them, as BuildKit does.
func writeLines(w io.Writer, s diag.Span) {
	if s.IsZero() || s.Start.Line < 1 {
		return
	}
	lines := strings.Split(s.File.Text, "\n")
	first, last := s.Start.Line, max(s.End.Line, s.Start.Line)
	if first > len(lines) {
		return
	}
	last = min(last, len(lines))
	start, end, around := first, last, 2
	if first == last {
		around = 4
	}
	for n := 0; n < around; n++ {
		if start > 1 {
			start--
			n++
		}
		if end != len(lines) {
			end++
			n++
		}
	}
	const rule = "--------------------"
	fmt.Fprintf(w, "%s:%d\n%s\n", s.File.Name, first, rule)
	for n := start; n <= end; n++ {
		mark := "   "
		if n >= first && n <= last {
			mark = ">>>"
		}
		fmt.Fprintf(w, " %3d | %s %s\n", n, mark, strings.TrimSuffix(lines[n-1], "\r"))
	}
	fmt.Fprintln(w, rule)
}

// warn prints what checks found at the end of a build, each with its place.
func warn(w io.Writer, warnings []parser.Warning) {
	if len(warnings) == 0 {
		return
	}
	found := "1 warning found:"
	if len(warnings) > 1 {
		found = fmt.Sprintf("%d warnings found:", len(warnings))
	}
	fmt.Fprintf(w, "\n %s\n", found)
	for _, warning := range warnings {
		fmt.Fprintf(w, " - %s\n%s", warning, warning.Span.Excerpt())
	}
}

// targets lists the stages.
func (c call) targets(w io.Writer, recipe *parser.Recipe) error {
	type target struct {
		Name        string        `json:"name,omitempty"`
		Default     bool          `json:"default,omitempty"`
		Description string        `json:"description,omitempty"`
		Base        string        `json:"base,omitempty"`
		Platform    string        `json:"platform,omitempty"`
		Location    *lintLocation `json:"location,omitempty"`
	}
	list := struct {
		Targets []target `json:"targets"`
		Sources [][]byte `json:"sources"`
	}{Sources: [][]byte{[]byte(recipe.File.Text)}}
	for i, s := range recipe.Stages {
		list.Targets = append(list.Targets, target{s.Name, i == len(recipe.Stages)-1, s.Doc, s.Base, s.Platform, &lintLocation{0, linesOf(s.Span)}})
	}
	if c.json {
		return writeJSON(w, list)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprint(tw, "TARGET\tDESCRIPTION\n")
	for _, t := range list.Targets {
		name := t.Name
		switch {
		case t.Default && name == "":
			name = "(default)"
		case t.Default:
			name += " (default)"
		}
		fmt.Fprintf(tw, "%s\t%s\n", name, t.Description)
	}
	return tw.Flush()
}

// outline lists what the target takes.
func (c call) outline(w io.Writer, recipe *diag.File, o planner.Outline) error {
	type arg struct {
		Name        string        `json:"name"`
		Description string        `json:"description,omitempty"`
		Value       string        `json:"value,omitempty"`
		Location    *lintLocation `json:"location,omitempty"`
	}
	type need struct {
		Name     string        `json:"name"`
		Required bool          `json:"required,omitempty"`
		Location *lintLocation `json:"location,omitempty"`
	}
	all := struct {
		Name        string   `json:"name,omitempty"`
		Description string   `json:"description,omitempty"`
		Args        []arg    `json:"args,omitempty"`
		Secrets     []need   `json:"secrets,omitempty"`
		SSH         []need   `json:"ssh,omitempty"`
		Sources     [][]byte `json:"sources,omitempty"`
	}{Name: o.Name, Description: o.Description, Sources: [][]byte{[]byte(recipe.Text)}}
	for _, a := range o.Args {
		all.Args = append(all.Args, arg{a.Name, a.Description, a.Value, &lintLocation{0, linesOf(a.Span)}})
	}
	needs := func(list []planner.OutlineNeed) (out []need) {
		for _, n := range list {
			out = append(out, need{n.Name, n.Required, &lintLocation{0, linesOf(n.Span)}})
		}
		return out
	}
	all.Secrets, all.SSH = needs(o.Secrets), needs(o.SSH)
	if c.json {
		return writeJSON(w, all)
	}
	table := func(padding int, head string, rows [][]string) {
		if len(rows) == 0 {
			return
		}
		tw := tabwriter.NewWriter(w, 0, 0, padding, ' ', 0)
		if head != "" {
			fmt.Fprintln(tw, head)
		}
		for _, row := range rows {
			fmt.Fprintln(tw, strings.Join(row, "\t"))
		}
		tw.Flush()
		fmt.Fprintln(w)
	}
	var head [][]string
	if o.Name != "" || o.Description != "" {
		head = append(head, []string{"TARGET:", cmp.Or(o.Name, "(default)")})
		if o.Description != "" {
			head = append(head, []string{"DESCRIPTION:", o.Description})
		}
	}
	table(1, "", head)
	var rows [][]string
	for _, a := range all.Args {
		rows = append(rows, []string{a.Name, a.Value, a.Description})
	}
	table(3, "BUILD ARG\tVALUE\tDESCRIPTION", rows)
	for _, part := range []struct {
		head  string
		needs []need
	}{{"SECRET\tREQUIRED", all.Secrets}, {"SSH\tREQUIRED", all.SSH}} {
		rows = nil
		for _, n := range part.needs {
			required := ""
			if n.Required {
				required = "true"
			}
			rows = append(rows, []string{n.Name, required})
		}
		table(3, part.head, rows)
	}
	return nil
}
