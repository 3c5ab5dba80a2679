package bake

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Target is what is said of one build. What is nil was not said.
type Target struct {
	Name     string   `json:"-"`
	Inherits []string `json:"-"`

	Description      *string            `json:"description,omitempty"`
	Annotations      []string           `json:"annotations,omitempty"`
	Attest           []Attrs            `json:"attest,omitempty"`
	Context          *string            `json:"context,omitempty"`
	Contexts         map[string]string  `json:"contexts,omitempty"`
	Dockerfile       *string            `json:"dockerfile,omitempty"`
	DockerfileInline *string            `json:"dockerfile-inline,omitempty"`
	Args             map[string]*string `json:"args,omitempty"`
	Labels           map[string]*string `json:"labels,omitempty"`
	Tags             []string           `json:"tags,omitempty"`
	CacheFrom        []Attrs            `json:"cache-from,omitempty"`
	CacheTo          []Attrs            `json:"cache-to,omitempty"`
	Target           *string            `json:"target,omitempty"`
	Secrets          []Attrs            `json:"secret,omitempty"`
	SSH              []Attrs            `json:"ssh,omitempty"`
	Platforms        []string           `json:"platforms,omitempty"`
	Outputs          []Attrs            `json:"output,omitempty"`
	Pull             *bool              `json:"pull,omitempty"`
	NoCache          *bool              `json:"no-cache,omitempty"`
	Network          *string            `json:"network,omitempty"`
	NoCacheFilter    []string           `json:"no-cache-filter,omitempty"`
	ShmSize          *string            `json:"shm-size,omitempty"`
	Ulimits          []string           `json:"ulimits,omitempty"`
	Call             *string            `json:"call,omitempty"`
	Entitlements     []string           `json:"entitlements,omitempty"`
	ExtraHosts       map[string]*string `json:"extra-hosts,omitempty"`

	// Push and Load are said on the command line only.
	Push *bool `json:"-"`
	Load *bool `json:"-"`
}

// Attrs are keys and values, as options of docker's command line have them. One without
// keys is the text Word.
type Attrs struct {
	Word string
	Keys map[string]string
}

// ParseAttrs reads the form of the command line.
func ParseAttrs(text string) Attrs {
	if !strings.Contains(text, "=") || strings.HasPrefix(text, "\"") {
		return Attrs{Word: text}
	}
	a := Attrs{Keys: map[string]string{}}
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return Attrs{Word: text}
		}
		a.Keys[key] = value
	}
	return a
}

// String is the form of the command line, with type first.
func (a Attrs) String() string {
	if a.Keys == nil {
		return a.Word
	}
	var words []string
	for _, key := range slices.Sorted(maps.Keys(a.Keys)) {
		field := key + "=" + a.Keys[key]
		if strings.ContainsAny(field, ",\"") {
			field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
		}
		if key == "type" {
			words = slices.Insert(words, 0, field)
		} else {
			words = append(words, field)
		}
	}
	return strings.Join(words, ",")
}

// MarshalJSON writes an object, or the word.
func (a Attrs) MarshalJSON() ([]byte, error) {
	if a.Keys == nil {
		return json.Marshal(a.Word)
	}
	return json.Marshal(a.Keys)
}

// merge adds what t says over what is there: maps by key, what is said of attestations,
// secrets, agents, annotations, ulimits and entitlements beside the rest, all else instead of it.
func (to *Target) merge(t *Target) {
	replace(&to.Description, t.Description)
	replace(&to.Context, t.Context)
	replace(&to.Dockerfile, t.Dockerfile)
	replace(&to.DockerfileInline, t.DockerfileInline)
	replace(&to.Target, t.Target)
	replace(&to.Pull, t.Pull)
	replace(&to.NoCache, t.NoCache)
	replace(&to.Network, t.Network)
	replace(&to.ShmSize, t.ShmSize)
	replace(&to.Call, t.Call)
	replace(&to.Push, t.Push)
	replace(&to.Load, t.Load)
	join(&to.Contexts, t.Contexts)
	join(&to.Args, known(t.Args))
	join(&to.Labels, known(t.Labels))
	join(&to.ExtraHosts, known(t.ExtraHosts))
	instead(&to.Tags, t.Tags)
	instead(&to.Platforms, t.Platforms)
	instead(&to.CacheTo, t.CacheTo)
	instead(&to.Outputs, t.Outputs)
	instead(&to.NoCacheFilter, t.NoCacheFilter)
	beside(&to.Annotations, t.Annotations)
	beside(&to.Ulimits, t.Ulimits)
	beside(&to.Entitlements, t.Entitlements)
	besideAttrs(&to.Attest, t.Attest, "type")
	besideAttrs(&to.CacheFrom, t.CacheFrom, "")
	besideAttrs(&to.Secrets, t.Secrets, "id")
	besideAttrs(&to.SSH, t.SSH, "")
}

func replace[T any](to **T, value *T) {
	if value != nil {
		*to = value
	}
}

func join[T any](to *map[string]T, values map[string]T) {
	if values == nil {
		return
	}
	all := maps.Clone(*to)
	if all == nil {
		all = map[string]T{}
	}
	maps.Copy(all, values)
	*to = all
}

// known leaves out what is null: that says nothing.
func known(m map[string]*string) map[string]*string {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(_ string, value *string) bool { return value == nil })
	return m
}

func instead[T any](to *[]T, values []T) {
	if values != nil {
		*to = values
	}
}

func beside(to *[]string, values []string) {
	all := slices.Clone(*to)
	for _, v := range values {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	*to = all
}

// besideAttrs adds values; one with the same value under key as one that is there takes its place.
func besideAttrs(to *[]Attrs, values []Attrs, key string) {
	all := slices.Clone(*to)
	for _, v := range values {
		i := slices.IndexFunc(all, func(a Attrs) bool {
			return a.String() == v.String() || key != "" && a.Keys[key] != "" && a.Keys[key] == v.Keys[key]
		})
		if i >= 0 {
			all[i] = v
		} else {
			all = append(all, v)
		}
	}
	*to = all
}
