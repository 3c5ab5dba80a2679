package cli

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"builder/image"
	"builder/internal/diag"
)

// annotation is one --annotation, for one of the things that can have some.
type annotation struct {
	kind     string // manifest, index, manifest-descriptor or index-descriptor
	platform string // in its normal form; empty is every one
	key      string
	value    string
}

var annotationKinds = []string{"manifest", "index", "manifest-descriptor", "index-descriptor"}

// annotationPrefix is what may stand before the key: kinds, each with a platform.
var annotationPrefix = regexp.MustCompile(`^[a-z-]+(\[[^\]]*\])?(,[a-z-]+(\[[^\]]*\])?)*:`)

// parseAnnotations reads --annotation [KIND[[PLATFORM]][,KIND…]:]KEY=VALUE.
func parseAnnotations(texts []string) ([]annotation, error) {
	var list []annotation
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		prefix := annotationPrefix.FindString(name)
		key := name[len(prefix):]
		if !ok || key == "" {
			return nil, usage("--annotation: %q is not KEY=VALUE", text).WithHint("write --annotation org.opencontainers.image.title=app, or index:KEY=VALUE")
		}
		kinds := strings.TrimSuffix(prefix, ":")
		if kinds == "" {
			kinds = "manifest"
		}
		for kind := range strings.SplitSeq(kinds, ",") {
			a := annotation{key: key, value: value}
			var platform string
			a.kind, platform, _ = strings.Cut(strings.TrimSuffix(kind, "]"), "[")
			if !slices.Contains(annotationKinds, a.kind) {
				e := usage("--annotation: %q has no annotations", a.kind)
				if near := diag.Nearest(a.kind, annotationKinds); near != "" {
					return nil, e.WithHint("did you mean %q?", near)
				}
				return nil, e.WithHint("%s", strings.Join(annotationKinds, ", "))
			}
			if platform != "" {
				p, err := image.ParsePlatform(platform)
				if err != nil {
					return nil, usage("--annotation: %v", err)
				}
				a.platform = image.FormatPlatform(p)
			}
			list = append(list, a)
		}
	}
	return list, nil
}

// annotated are the annotations of one kind on a platform.
func annotated(all []annotation, kind string, on image.Platform) map[string]string {
	var m map[string]string
	for _, a := range all {
		if a.kind != kind || a.platform != "" && kind != "index" && kind != "index-descriptor" && a.platform != image.FormatPlatform(on) {
			continue
		}
		if m == nil {
			m = map[string]string{}
		}
		m[a.key] = a.value
	}
	return m
}

// checkAnnotations refuses what no output would have.
func checkAnnotations(all []annotation, on []image.Platform, index bool, outputs []output) error {
	for _, a := range all {
		if a.platform != "" && !slices.ContainsFunc(on, func(p image.Platform) bool { return image.FormatPlatform(p) == a.platform }) {
			return usage("--annotation: nothing is built for %s", a.platform)
		}
		if strings.HasPrefix(a.kind, "index") && !index {
			return usage("--annotation: %s:%s: one platform makes no index", a.kind, a.key).
				WithHint("name several with --platform, or give --build-arg BUILDKIT_MULTI_PLATFORM=1")
		}
	}
	for _, o := range outputs {
		if len(all) > 0 && o.form.docker {
			return usage("--annotation: docker's media types have no annotations").WithHint("leave oci-mediatypes=false out, or write type=oci")
		}
	}
	for _, a := range all {
		if a.kind != "manifest" && !slices.ContainsFunc(outputs, func(o output) bool { return a.shows(o, index) }) {
			return usage("--annotation: no output has a place for %s:%s", a.kind, a.key).WithHint("--output type=oci has one")
		}
	}
	return nil
}

// shows reports whether an output has a place for the annotation.
func (a annotation) shows(o output, index bool) bool {
	switch {
	case o.kind == "oci":
		return true
	case o.kind == "registry" || o.push:
		return a.kind == "index" || a.kind == "manifest-descriptor" && index
	}
	return false
}

// withAnnotations adds annotations to some, over those of the same keys.
func withAnnotations(some, more map[string]string) map[string]string {
	if len(more) == 0 {
		return some
	}
	all := maps.Clone(some)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, more)
	return all
}
