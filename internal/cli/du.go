package cli

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"builder/cache"
	"builder/image"
	"builder/internal/depot"
	"builder/internal/diag"
)

// The filters of caches that match a text, those that are true or false by
// themselves, and those of times.
var (
	cacheTexts  = []string{"id", "type", "description"}
	cacheClaims = []string{"inuse", "mutable", "immutable", "shared", "private"}
	cacheTimes  = []string{"until", "unused-for"}
)

// cacheFilter chooses caches, as BuildKit's filters do.
type cacheFilter struct {
	tests []func(c *cached) bool
	until []time.Time // used before each of these
}

// matches reports whether a cache fits all filters.
func (f *cacheFilter) matches(c *cached) bool {
	return !slices.ContainsFunc(f.until, func(at time.Time) bool { return !c.used.Before(at) }) &&
		!slices.ContainsFunc(f.tests, func(fits func(*cached) bool) bool { return !fits(c) })
}

// parseCacheFilters reads --filter of what lists and removes caches: KEY=VALUE,
// KEY!=VALUE, KEY~=PATTERN, a claim alone, or several with commas between them.
func parseCacheFilters(words []string) (*cacheFilter, error) {
	f := &cacheFilter{}
	for _, word := range words {
		for field := range strings.SplitSeq(word, ",") {
			if err := f.add(field); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

var cacheFilterForm = regexp.MustCompile(`^\s*([a-z-]+)\s*(?:(!=|~=|==|=)\s*(.*?))?\s*$`)

func (f *cacheFilter) add(text string) error {
	keys := slices.Concat(cacheTexts, cacheClaims, cacheTimes)
	m := cacheFilterForm.FindStringSubmatch(text)
	if m == nil {
		return usage("--filter: %q is no filter", text).WithHint("write --filter KEY=VALUE; the keys are %s", strings.Join(keys, ", "))
	}
	key, op, value := m[1], m[2], m[3]
	switch {
	case slices.Contains(cacheTimes, key) && (op == "=" || op == "=="):
		until, err := filters{"until": {value}}.until()
		f.until = append(f.until, until...)
		return err
	case slices.Contains(cacheClaims, key) && op != "~=":
		want := true
		if op != "" {
			if err := parseClaim(key, value, &want); err != nil {
				return err
			}
		}
		f.tests = append(f.tests, func(c *cached) bool { return c.claim(key) == (want == (op != "!=")) })
		return nil
	case slices.Contains(cacheTexts, key) && op != "":
		if key == "type" && op != "~=" && !slices.Contains(cacheKinds(), value) {
			return usage("--filter: there are no caches of type %q", value).WithHint("%s", strings.Join(cacheKinds(), ", "))
		}
		fits, err := textFilter(key, op, value)
		f.tests = append(f.tests, func(c *cached) bool { return fits(c.text(key)) })
		return err
	}
	e := usage("--filter: there is no filter %q here", text)
	if near := diag.Nearest(key, keys); near != "" && near != key {
		return e.WithHint("did you mean %q?", near)
	}
	return e.WithHint("the keys are %s", strings.Join(keys, ", "))
}

func parseClaim(key, value string, to *bool) error {
	var err error
	*to, _, err = filters{key: {value}}.claim(key)
	return err
}

// textFilter compares a text. An ID may be given by its beginning.
func textFilter(key, op, value string) (func(text string) bool, error) {
	switch op {
	case "~=":
		pattern, err := regexp.Compile(value)
		if err != nil {
			return nil, usage("--filter: %s: %v", key, err)
		}
		return pattern.MatchString, nil
	case "!=":
		return func(text string) bool { return text != value }, nil
	default:
		return func(text string) bool {
			return text == value || key == "id" && value != "" && strings.HasPrefix(text, value)
		}, nil
	}
}

func (c *cached) text(key string) string {
	switch key {
	case "type":
		return c.kind()
	case "description":
		return c.description
	default:
		return c.name()
	}
}

func (c *cached) claim(key string) bool {
	switch key {
	case "inuse":
		return c.active
	case "mutable":
		return c.kind() != kindLayer
	case "immutable":
		return c.kind() == kindLayer
	case "shared":
		return c.shared
	default: // private
		return !c.shared
	}
}

// describe says what made a layer, in the words that BuildKit has for it.
func describe(parts cache.Parts) string {
	var op, dest string
	var args []string
	for _, p := range parts {
		switch p.Name {
		case "op":
			op = p.Value
		case "arg", "args":
			args = append(args, p.Value)
		case "dest", "path":
			dest = p.Value
		}
	}
	switch op {
	case "exec":
		return "mount / from exec " + strings.Join(args, " ")
	case "":
		return ""
	default:
		return op + " to " + dest
	}
}

// everyCache returns all caches: those that can go, and those that images,
// containers or steps have. The ones that were used longest ago come first.
func (m *machine) everyCache(ctx context.Context) ([]cached, error) {
	all, _, err := m.caches(ctx)
	if err != nil {
		return nil, err
	}
	need, err := m.needed()
	if err != nil {
		return nil, err
	}
	layers, err := m.depot.List(ctx)
	if err != nil {
		return nil, err
	}
	records, err := m.cache.List(ctx)
	if err != nil {
		return nil, err
	}
	byLayer := map[image.ContentDigest]cache.Listed{}
	for _, r := range records {
		if old, ok := byLayer[r.Layer]; !ok || r.Used.After(old.Used) {
			byLayer[r.Layer] = r
		}
	}
	for i := range all {
		all[i].description = describe(byLayer[all[i].Content].Parts)
	}
	for _, l := range layers {
		r, built := byLayer[l.Content]
		if !need.keeps(l) || !built {
			continue
		}
		c := cached{Listed: l, used: r.Used, made: r.Made, shared: true, description: describe(r.Parts)}
		if c.size, err = m.depot.Size(ctx, l); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	mounts, err := m.cache.Mounts()
	if err != nil {
		return nil, err
	}
	for i := range mounts {
		if !mounts[i].Active {
			continue
		}
		c := cached{mount: &mounts[i], used: mounts[i].Used, active: true}
		if c.size, err = depot.TreeSize(ctx, mounts[i].Dir); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	for i := range all {
		if all[i].kind() == kindMount {
			all[i].description = "cached mount " + path.Clean(all[i].mount.ID)
		}
	}
	slices.SortStableFunc(all, func(a, b cached) int { return a.used.Compare(b.used) })
	return all, nil
}

func newDu(g *globals) *cobra.Command {
	var words []string
	var format string
	var verbose bool
	cmd := &cobra.Command{
		Use:     "du [OPTIONS]",
		Short:   "Show what caches of builds take",
		Example: "  builder du\n  builder du --verbose --filter type=exec.cachemount",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			chosen, err := parseCacheFilters(words)
			if err != nil {
				return err
			}
			show, err := printer(format)
			if err != nil {
				return err
			}
			if verbose && format != "" {
				return usage("--verbose and --format do not go together")
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				all, err := m.everyCache(ctx)
				if err != nil {
					return err
				}
				all = slices.DeleteFunc(all, func(c cached) bool { return !chosen.matches(&c) })
				if verbose {
					g.printCaches(all)
				} else if err := show(g.out, cacheTable(all)); err != nil || format != "" {
					return err
				}
				return g.printSums(all)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&words, "filter", nil, "show what fits: "+strings.Join(slices.Concat(cacheTexts, cacheClaims, cacheTimes), ", "))
	fl.StringVar(&format, "format", "", "table, json, a Go template, or table and a template")
	fl.BoolVar(&verbose, "verbose", false, "show all that is known of each")
	return cmd
}

func (c *cached) reclaimable() bool { return !c.shared && !c.active }

func cacheTable(all []cached) listing {
	l := listing{columns: []column{{"ID", "ID"}, {"Reclaimable", "RECLAIMABLE"}, {"Size", "SIZE"}, {"LastUsedAt", "LAST ACCESSED"}}}
	for _, c := range slices.Backward(all) {
		l.rows = append(l.rows, row{
			"ID": c.name(), "Reclaimable": fmt.Sprint(c.reclaimable()), "Size": shortSize(c.size), "LastUsedAt": ago(c.used),
			"Type": c.kind(), "Description": c.description, "Shared": fmt.Sprint(c.shared), "Mutable": fmt.Sprint(c.claim("mutable")), "InUse": fmt.Sprint(c.active),
		})
	}
	return l
}

// printCaches writes all that is known of caches.
func (g *globals) printCaches(all []cached) {
	for _, c := range slices.Backward(all) {
		fmt.Fprintf(g.out, "ID:\t\t%s\nMutable:\t%v\nReclaimable:\t%v\nShared:\t\t%v\nSize:\t\t%s\n", c.name(), c.claim("mutable"), c.reclaimable(), c.shared, shortSize(c.size))
		if c.description != "" {
			fmt.Fprintf(g.out, "Description:\t%s\n", harmless(strings.ReplaceAll(c.description, "\n", " ")))
		}
		fmt.Fprintf(g.out, "Last used:\t%s\nType:\t\t%s\n\n", ago(c.used), c.kind())
	}
}

// printSums writes what caches take together.
func (g *globals) printSums(all []cached) error {
	var shared, free, sum int64
	for _, c := range all {
		sum += c.size
		if c.shared {
			shared += c.size
		}
		if c.reclaimable() {
			free += c.size
		}
	}
	_, err := fmt.Fprintf(g.out, "Shared:\t\t%s\nPrivate:\t%s\nReclaimable:\t%s\nTotal:\t\t%s\n", byteCount(shared), byteCount(sum-shared), byteCount(free), byteCount(sum))
	return err
}
