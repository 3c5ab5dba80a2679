package result

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Diff lists the differences between what the oracle made and what we made,
// one line each, in the order index, manifest, config, history, layers, tree.
// It is empty when there are none.
func Diff(oracle, ours *Build) []string {
	d := &differ{}
	switch {
	case oracle.Refused && ours.Refused:
		return nil
	case oracle.Refused:
		return []string{"oracle refuses, we build: " + firstLine(oracle.Message)}
	case ours.Refused:
		return []string{"oracle builds, we refuse: " + firstLine(ours.Message)}
	}
	d.value("index", oracle.Index, ours.Index)
	d.value("images", len(oracle.Images), len(ours.Images))
	for i := range min(len(oracle.Images), len(ours.Images)) {
		o, u := &oracle.Images[i], &ours.Images[i]
		if len(oracle.Images) > 1 {
			d.prefix = "[" + o.Platform + "] "
		}
		d.image(o, u)
	}
	return d.lines
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

type differ struct {
	prefix string
	lines  []string
}

func (d *differ) addf(format string, args ...any) {
	d.lines = append(d.lines, d.prefix+fmt.Sprintf(format, args...))
}

// value compares two values that print as JSON.
func (d *differ) value(what string, oracle, ours any) {
	if !reflect.DeepEqual(oracle, ours) {
		d.addf("%s: oracle %s, ours %s", what, show(oracle), show(ours))
	}
}

func show(v any) string {
	if v == nil {
		return "nothing"
	}
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func (d *differ) image(o, u *Image) {
	for _, f := range u.Faults {
		d.addf("fault: %s", f)
	}
	d.value("platform", o.Platform, u.Platform)
	d.value("manifest media type", o.MediaType, u.MediaType)
	d.value("artifact type", o.ArtifactType, u.ArtifactType)
	d.value("config media type", o.ConfigType, u.ConfigType)
	d.value("annotations", o.Annotations, u.Annotations)
	d.value("index annotations", o.IndexAnnotations, u.IndexAnnotations)
	d.config(o.Config, u.Config)
	d.layers(o.Layers, u.Layers)
	d.tree(o.Tree, u.Tree)
}

// config compares two configs field by field; created and diff IDs, which
// depend on times, excepted. A null is as good as nothing.
func (d *differ) config(oracle, ours json.RawMessage) {
	var o, u map[string]any
	if err := json.Unmarshal(oracle, &o); err != nil {
		d.addf("config of the oracle: %v", err)
		return
	}
	if err := json.Unmarshal(ours, &u); err != nil {
		d.addf("config: %v", err)
		return
	}
	d.history(o["history"], u["history"])
	for _, m := range []map[string]any{o, u} {
		delete(m, "created")
		delete(m, "history")
		if rootfs, ok := m["rootfs"].(map[string]any); ok {
			delete(rootfs, "diff_ids")
		}
	}
	d.object("config", o, u)
}

func (d *differ) object(path string, o, u map[string]any) {
	keys := map[string]bool{}
	for _, m := range []map[string]any{o, u} {
		for k, v := range m {
			if v != nil {
				keys[k] = true
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		om, ok1 := o[k].(map[string]any)
		um, ok2 := u[k].(map[string]any)
		if ok1 && ok2 {
			d.object(path+"."+k, om, um)
			continue
		}
		d.value(path+"."+k, o[k], u[k])
	}
}

func (d *differ) history(o, u any) {
	ol, _ := o.([]any)
	ul, _ := u.([]any)
	if len(ol) != len(ul) {
		d.addf("history: oracle has %d entries, ours %d", len(ol), len(ul))
	}
	for i := range max(len(ol), len(ul)) {
		d.object(fmt.Sprintf("history[%d]", i), historyEntry(ol, i), historyEntry(ul, i))
	}
}

func historyEntry(list []any, i int) map[string]any {
	if i >= len(list) {
		return nil
	}
	m, _ := list[i].(map[string]any)
	delete(m, "created")
	return m
}

func (d *differ) layers(o, u []Layer) {
	if len(o) != len(u) {
		d.addf("layers: oracle has %d, ours %d", len(o), len(u))
	}
	for i := range min(len(o), len(u)) {
		what := fmt.Sprintf("layer %d", i)
		d.value(what+" media type", o[i].MediaType, u[i].MediaType)
		d.value(what+" annotations", o[i].Annotations, u[i].Annotations)
		d.paths(what, o[i].Paths, u[i].Paths)
	}
}

func (d *differ) paths(what string, o, u []string) {
	missing, extra := minus(o, u), minus(u, o)
	if len(missing) > 0 {
		d.addf("%s lacks %s", what, brief(missing))
	}
	if len(extra) > 0 {
		d.addf("%s has too much: %s", what, brief(extra))
	}
}

func minus(a, b []string) []string {
	in := map[string]bool{}
	for _, s := range b {
		in[s] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return in[s] })
}

func brief(paths []string) string {
	const most = 12
	if len(paths) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(paths[:most], " "), len(paths)-most)
	}
	return strings.Join(paths, " ")
}

func (d *differ) tree(o, u []Entry) {
	om, um := byPath(o), byPath(u)
	var missing, extra []string
	for _, e := range o {
		if _, ok := um[e.Path]; !ok {
			missing = append(missing, e.Path)
		}
	}
	for _, e := range u {
		if _, ok := om[e.Path]; !ok {
			extra = append(extra, e.Path)
		}
	}
	if len(missing) > 0 {
		d.addf("tree lacks %s", brief(missing))
	}
	if len(extra) > 0 {
		d.addf("tree has too much: %s", brief(extra))
	}
	for _, e := range o {
		if ours, ok := um[e.Path]; ok {
			d.entry(e, ours)
		}
	}
}

func byPath(entries []Entry) map[string]Entry {
	m := make(map[string]Entry, len(entries))
	for _, e := range entries {
		m[e.Path] = e
	}
	return m
}

func (d *differ) entry(o, u Entry) {
	at := o.Path + ": "
	d.value(at+"type", o.Type, u.Type)
	if o.Mode != u.Mode {
		d.addf("%smode: oracle %04o, ours %04o", at, o.Mode, u.Mode)
	}
	if o.UID != u.UID || o.GID != u.GID {
		d.addf("%sowner: oracle %d:%d, ours %d:%d", at, o.UID, o.GID, u.UID, u.GID)
	}
	d.value(at+"link target", o.Link, u.Link)
	d.value(at+"hard link group", o.Twin, u.Twin)
	d.value(at+"xattrs", o.Xattrs, u.Xattrs)
	d.value(at+"device", o.Device, u.Device)
	switch {
	case o.Digest == u.Digest:
	case o.Text != nil && u.Text != nil:
		d.addf("%scontent:%s", at, textDiff(*o.Text, *u.Text))
	default:
		d.addf("%scontent: oracle %d bytes %.12s, ours %d bytes %.12s", at, o.Size, o.Digest, u.Size, u.Digest)
	}
}

// textDiff shows the lines that only one of two texts has.
func textDiff(o, u string) string {
	ol, ul := strings.Split(o, "\n"), strings.Split(u, "\n")
	var b strings.Builder
	for _, s := range minus(ol, ul) {
		fmt.Fprintf(&b, "\n        - %q", s)
	}
	for _, s := range minus(ul, ol) {
		fmt.Fprintf(&b, "\n        + %q", s)
	}
	if b.Len() == 0 {
		return fmt.Sprintf(" oracle %q, ours %q", o, u)
	}
	return b.String()
}
