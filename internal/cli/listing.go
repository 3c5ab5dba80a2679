package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"unicode"

	"builder/internal/diag"
)

// row is one line of a listing, by docker's field names: what a template of
// --format sees, and what --format json writes.
type row map[string]string

// column is a field of a listing with the head that tables give it.
type column struct{ field, head string }

// listing is what docker's list commands print: rows, the columns that are
// shown when nobody says otherwise, and the heads of all fields.
type listing struct {
	columns []column          // of the table
	more    map[string]string // heads of fields that are in no column
	rows    []row
}

// printer returns how a listing is shown: as the table, as a table of a template's
// fields ("table {{.ID}}"), as JSON lines, or each row by a template.
func printer(format string) (func(io.Writer, listing) error, error) {
	switch format {
	case "", "table":
		return printTable, nil
	case "json":
		format = "{{json .}}"
	case "raw":
		return nil, usage("--format: raw is not there").WithHint("json is made to be read by programs")
	}
	text, heads := strings.CutPrefix(format, "table ")
	t, err := parseTemplate(unescape(strings.TrimSpace(text)))
	if err != nil {
		return nil, err
	}
	t.Option("missingkey=error")
	if !heads {
		return func(w io.Writer, l listing) error { return l.each(w, t, l.rows) }, nil
	}
	return func(w io.Writer, l listing) error {
		tabs := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
		if err := l.each(tabs, t, append([]row{l.heads()}, l.rows...)); err != nil {
			return err
		}
		return tabs.Flush()
	}, nil
}

// unescape lets people write tabs and ends of lines in a format, as docker does.
func unescape(format string) string {
	return strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(format)
}

func printTable(w io.Writer, l listing) error {
	cells := make([][]string, 1, len(l.rows)+1)
	for _, c := range l.columns {
		cells[0] = append(cells[0], c.head)
	}
	for _, r := range l.rows {
		line := make([]string, len(l.columns))
		for i, c := range l.columns {
			line[i] = harmless(r[c.field])
		}
		cells = append(cells, line)
	}
	return table(w, cells)
}

// harmless replaces what a terminal would obey: much in tables is a stranger's text.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func (l listing) heads() row {
	heads := maps.Clone(l.more)
	if heads == nil {
		heads = row{}
	}
	for _, c := range l.columns {
		heads[c.field] = c.head
	}
	return heads
}

func (l listing) each(w io.Writer, t *template.Template, rows []row) error {
	for _, r := range rows {
		if err := t.Execute(w, shownRow(r)); err != nil {
			return l.explain(err)
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	return nil
}

// labelsKey is the field of a row that has the labels as JSON, for .Label.
const labelsKey = "Label"

// setLabels gives a row the field .Labels, and what .Label "NAME" finds.
func (r row) setLabels(labels map[string]string) {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		words = append(words, k+"="+labels[k])
	}
	data, err := json.Marshal(labels)
	if err != nil {
		return // cannot be: they are strings
	}
	r["Labels"], r[labelsKey] = strings.Join(words, ","), string(data)
}

// shownRow is a row as templates see it.
type shownRow map[string]string

// Label is one label of what the row is of; in the row of heads, docker's head for it.
func (r shownRow) Label(name string) string {
	data, ok := r[labelsKey]
	if !ok {
		return strings.NewReplacer("-", " ", "_", " ").Replace(name[strings.LastIndex(name, ".")+1:])
	}
	var labels map[string]string
	if json.Unmarshal([]byte(data), &labels) != nil {
		return ""
	}
	return labels[name]
}

// MarshalJSON leaves out what only .Label reads.
func (r shownRow) MarshalJSON() ([]byte, error) {
	shown := maps.Clone(map[string]string(r))
	delete(shown, labelsKey)
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(shown)
	return []byte(b.String()), err
}

// explain names the fields where a template asks for one that is not there.
func (l listing) explain(err error) error {
	e := usage("--format: %v", err)
	fields := slices.Sorted(maps.Keys(l.heads()))
	if _, after, ok := strings.Cut(err.Error(), "no entry for key \""); ok {
		word, _, _ := strings.Cut(after, "\"")
		e = usage("--format: there is no field %q", word)
		if near := diag.Nearest(word, fields); near != "" {
			return e.WithHint("did you mean %q?", near)
		}
	}
	return e.WithHint("the fields are %s", strings.Join(fields, ", "))
}

// templateFunctions are those that docker's templates have.
var templateFunctions = template.FuncMap{
	"json": func(v any) (string, error) {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		err := enc.Encode(v)
		return strings.TrimSuffix(b.String(), "\n"), err
	},
	"join":  strings.Join,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"split": strings.Split,
	"title": func(s string) string {
		if s == "" {
			return s
		}
		return strings.ToUpper(s[:1]) + s[1:]
	},
	"println": fmt.Sprintln,
	"pad": func(s string, before, after int) string {
		if s == "" {
			return s
		}
		return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
	},
	"truncate": func(s string, n int) string {
		if r := []rune(s); len(r) > n {
			return string(r[:n])
		}
		return s
	},
}

// parseTemplate knows the functions that docker's templates have.
func parseTemplate(format string) (*template.Template, error) {
	t, err := template.New("format").Funcs(templateFunctions).Parse(format)
	if err != nil {
		return nil, usage("--format: %v", err)
	}
	return t, nil
}

// filters are the values of --filter, by their keys.
type filters map[string][]string

// parseFilters reads --filter KEY=VALUE; keys are the ones that are known.
func parseFilters(words []string, keys ...string) (filters, error) {
	f := filters{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if !ok {
			return nil, usage("--filter: %q is no key and value", word).WithHint("write --filter KEY=VALUE; the keys are %s", strings.Join(keys, ", "))
		}
		if !slices.Contains(keys, key) {
			e := usage("--filter: there is no filter %q here", key)
			if near := diag.Nearest(key, keys); near != "" {
				return nil, e.WithHint("did you mean %q?", near)
			}
			return nil, e.WithHint("the keys are %s", strings.Join(keys, ", "))
		}
		f[key] = append(f[key], strings.TrimSpace(value))
	}
	return f, nil
}

// claim reads a filter that is true or false; set is false where it is not given.
func (f filters) claim(key string) (value, set bool, err error) {
	for _, text := range f[key] {
		switch strings.ToLower(text) {
		case "true", "1":
			value = true
		case "false", "0":
			value = false
		default:
			return false, false, usage("--filter: %s=%s is neither true nor false", key, text)
		}
		set = true
	}
	return value, set, nil
}

// labelsFit reports whether labels have all that the filters of a key want, each
// a name or a name and a value.
func (f filters) labelsFit(key string, labels map[string]string) bool {
	for _, want := range f[key] {
		name, value, valued := strings.Cut(want, "=")
		if got, ok := labels[name]; !ok || valued && got != value {
			return false
		}
	}
	return true
}
