package bake

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"builder/internal/diag"
)

// The keys that --set knows, and what they set.
var (
	setTexts = map[string]func(*Target) **string{
		"context": func(t *Target) **string { return &t.Context }, "dockerfile": func(t *Target) **string { return &t.Dockerfile },
		"dockerfile-inline": func(t *Target) **string { return &t.DockerfileInline }, "target": func(t *Target) **string { return &t.Target },
		"network": func(t *Target) **string { return &t.Network }, "shm-size": func(t *Target) **string { return &t.ShmSize }, "call": func(t *Target) **string { return &t.Call },
	}
	setClaims = map[string]func(*Target) **bool{
		"pull": func(t *Target) **bool { return &t.Pull }, "no-cache": func(t *Target) **bool { return &t.NoCache },
		"push": func(t *Target) **bool { return &t.Push }, "load": func(t *Target) **bool { return &t.Load },
	}
	setLists = map[string]func(*Target) *[]string{
		"tags": func(t *Target) *[]string { return &t.Tags }, "platform": func(t *Target) *[]string { return &t.Platforms },
		"no-cache-filter": func(t *Target) *[]string { return &t.NoCacheFilter }, "annotations": func(t *Target) *[]string { return &t.Annotations },
		"ulimits": func(t *Target) *[]string { return &t.Ulimits }, "entitlements": func(t *Target) *[]string { return &t.Entitlements },
	}
	setAttrs = map[string]func(*Target) *[]Attrs{
		"output": func(t *Target) *[]Attrs { return &t.Outputs }, "cache-from": func(t *Target) *[]Attrs { return &t.CacheFrom },
		"cache-to": func(t *Target) *[]Attrs { return &t.CacheTo }, "secrets": func(t *Target) *[]Attrs { return &t.Secrets },
		"ssh": func(t *Target) *[]Attrs { return &t.SSH }, "attest": func(t *Target) *[]Attrs { return &t.Attest },
	}
	setMaps = map[string]func(*Target) *map[string]*string{
		"args": func(t *Target) *map[string]*string { return &t.Args }, "labels": func(t *Target) *map[string]*string { return &t.Labels },
		"extra-hosts": func(t *Target) *map[string]*string { return &t.ExtraHosts },
	}
	setWords = map[string]string{"tag": "tags", "platforms": "platform", "secret": "secrets", "annotation": "annotations", "outputs": "output", "arg": "args", "label": "labels"}
)

// apply sets what an override says. The first one of a list takes the place of what the
// target has, unless it adds; touched says which were set.
func (o override) apply(t *Target, touched map[string]bool, env func(string) (string, bool)) error {
	key := o.key
	if word, ok := setWords[key]; ok {
		key = word
	}
	fresh := !touched[key] && !o.add
	switch {
	case setTexts[key] != nil:
		*setTexts[key](t) = ptr(o.value)
	case setClaims[key] != nil:
		b, err := strconv.ParseBool(o.value)
		if err != nil {
			return diag.Errorf(diag.Span{}, "--set %s: %q is neither true nor false", o.text, o.value)
		}
		*setClaims[key](t) = &b
	case setLists[key] != nil:
		*setLists[key](t) = added(*setLists[key](t), o.value, fresh)
	case setAttrs[key] != nil:
		*setAttrs[key](t) = added(*setAttrs[key](t), ParseAttrs(o.value), fresh)
	case setMaps[key] != nil:
		return o.applyMap(setMaps[key](t), env)
	case key == "contexts":
		if o.sub == "" {
			return diag.Errorf(diag.Span{}, "--set %s: say of which context", o.text).WithHint("TARGET.contexts.NAME=VALUE")
		}
		join(&t.Contexts, map[string]string{o.sub: o.value})
	default:
		return o.unknown()
	}
	touched[key] = true
	return nil
}

// applyMap sets a value of a map; a name alone is for what the environment says.
func (o override) applyMap(to *map[string]*string, env func(string) (string, bool)) error {
	if o.sub == "" {
		return diag.Errorf(diag.Span{}, "--set %s: say which of them", o.text).WithHint("TARGET.%s.NAME=VALUE", o.key)
	}
	value, ok := o.value, o.has
	if !ok && env != nil {
		value, ok = env(o.sub)
	}
	if ok {
		join(to, map[string]*string{o.sub: &value})
	}
	return nil
}

func (o override) unknown() error {
	names := slices.Concat(slices.Collect(maps.Keys(setTexts)), slices.Collect(maps.Keys(setClaims)), slices.Collect(maps.Keys(setLists)),
		slices.Collect(maps.Keys(setAttrs)), slices.Collect(maps.Keys(setMaps)), []string{"contexts"})
	slices.Sort(names)
	e := diag.Errorf(diag.Span{}, "--set %s: there is no key %q", o.text, o.key)
	if near := diag.Nearest(o.key, names); near != "" {
		return e.WithHint("did you mean %q?", near)
	}
	return e.WithHint("the keys are %s", strings.Join(names, ", "))
}

func added[T any](list []T, value T, fresh bool) []T {
	if fresh {
		return []T{value}
	}
	return append(list[:len(list):len(list)], value)
}
