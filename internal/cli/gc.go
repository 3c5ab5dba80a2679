package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"builder/image"
	"builder/image/registry"
	"builder/image/store"
)

// growing is withMachine for a command that adds to the store: afterwards that is kept
// in the bounds that builder.toml gives.
func growing(g *globals, cmd *cobra.Command, run func(context.Context, *machine) error) error {
	return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
		rules, err := m.gcRules()
		if err == nil {
			err = run(ctx, m)
		}
		if err != nil {
			return err
		}
		return m.collectGarbage(ctx, rules)
	})
}

// collectGarbage removes what rules do not let stay, as far as no other process can be
// using it.
func (m *machine) collectGarbage(ctx context.Context, rules []pruneRule) error {
	m.quietly = true
	for _, rule := range rules {
		if err := m.dropUnnamed(ctx, rule); err != nil {
			return err
		}
		if _, err := m.pruneCaches(ctx, rule); err != nil {
			return err
		}
	}
	return nil
}

// gcRules reads the rules of builder.toml. The size that the store may have is the last.
func (m *machine) gcRules() ([]pruneRule, error) {
	config, err := registry.ReadConfig(os.Getenv)
	if err != nil {
		return nil, err
	}
	c := config.Cache
	var rules []pruneRule
	for i, r := range c.GC {
		rule, err := m.gcRule(fmt.Sprintf("cache.gcpolicy[%d]", i), r)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	if c.MaxSize == "" {
		return rules, nil
	}
	limit, err := parseBytes("cache.max-size", c.MaxSize)
	if err != nil {
		return nil, err
	}
	if limit < 1 {
		return nil, usage("cache.max-size: %q keeps nothing", strings.TrimSpace(c.MaxSize)).WithHint("builder prune removes all")
	}
	return append(rules, pruneRule{max: limit}), nil
}

func (m *machine) gcRule(name string, r registry.GCRule) (rule pruneRule, err error) {
	rule.all = r.All
	if len(r.Filters) > 0 {
		if rule.fits, err = parseCacheFilters(r.Filters); err != nil {
			return rule, fmt.Errorf("%s.filters: %w", name, err)
		}
	}
	for _, size := range []struct {
		key   string
		value any
		to    *int64
	}{{"reservedSpace", r.ReservedSpace, &rule.keep}, {"maxUsedSpace", r.MaxUsedSpace, &rule.max}, {"minFreeSpace", r.MinFreeSpace, &rule.free}} {
		if *size.to, err = m.gcSize(name+"."+size.key, size.value); err != nil {
			return rule, err
		}
	}
	age, err := gcAge(name+".keepDuration", r.KeepDuration)
	if age > 0 {
		rule.until = []time.Time{time.Now().Add(-age)}
	}
	return rule, err
}

// gcSize is a number of bytes, a size, or a part of the disk.
func (m *machine) gcSize(name string, value any) (int64, error) {
	switch v := value.(type) {
	case nil:
		return 0, nil
	case int64:
		if v >= 0 {
			return v, nil
		}
	case string:
		percent, ok := strings.CutSuffix(strings.TrimSpace(v), "%")
		if !ok {
			return parseBytes(name, v)
		}
		part, err := strconv.ParseFloat(percent, 64)
		if err == nil && part >= 0 && part <= 100 {
			var disk unix.Statfs_t
			if err := unix.Statfs(m.path(), &disk); err != nil {
				return 0, fmt.Errorf("size of the disk below %s: %w", m.path(), err)
			}
			return int64(part / 100 * float64(disk.Blocks) * float64(disk.Bsize)), nil
		}
	}
	return 0, usage("%s: %v is not a size", name, value).WithHint(`write a number of bytes, "10GB", or "20%%" of the disk`)
}

// gcAge is a number of seconds, or a duration.
func gcAge(name string, value any) (time.Duration, error) {
	switch v := value.(type) {
	case nil:
		return 0, nil
	case int64:
		if v >= 0 && v < 1<<33 {
			return time.Duration(v) * time.Second, nil
		}
	case string:
		if d, err := time.ParseDuration(v); err == nil && d >= 0 {
			return d, nil
		}
	}
	return 0, usage("%s: %v is not a duration", name, value).WithHint(`write a number of seconds, or "48h"`)
}

// dropUnnamed removes images that have neither a name nor a container and can be had again, from a
// recipe or a registry, the oldest first, until caches and what such images keep are in a
// rule's bounds: each build that is repeated leaves one.
func (m *machine) dropUnnamed(ctx context.Context, rule pruneRule) error {
	if rule.max == 0 && rule.free == 0 {
		return nil
	}
	listed, err := m.store.List()
	if err != nil {
		return err
	}
	used, err := m.imagesInUse()
	if err != nil {
		return err
	}
	began, busy, err := m.cache.Oldest()
	if err != nil {
		return err
	}
	listed = slices.DeleteFunc(listed, func(l store.Listed) bool {
		return !again(l) || used[l.ID] || busy && !l.Made.Before(began)
	})
	if len(listed) == 0 {
		return nil
	}
	excess, err := m.excess(ctx, rule)
	if err != nil {
		return err
	}
	slices.SortFunc(listed, func(a, b store.Listed) int { return a.Made.Compare(b.Made) })
	for _, l := range listed {
		if excess <= 0 {
			break
		}
		removed, err := m.store.Remove(ctx, string(l.ID), store.RemoveOptions{Force: true})
		if err != nil {
			return err
		}
		for _, layer := range removed.Layers {
			excess -= store.LayerSize(layer)
		}
	}
	return nil
}

// excess is by how much caches, and what images without names keep, are above a rule's bounds.
func (m *machine) excess(ctx context.Context, rule pruneRule) (int64, error) {
	free, _, err := m.caches(ctx)
	if err != nil {
		return 0, err
	}
	here := total(free)
	named := map[image.Digest]bool{}
	unnamed := map[image.Digest]image.Layer{}
	records, err := m.store.List()
	if err != nil {
		return 0, err
	}
	for _, l := range records {
		for _, layer := range l.Layers {
			if again(l) {
				unnamed[layer.DiffID] = layer
			} else {
				named[layer.DiffID] = true
			}
		}
	}
	for id, l := range unnamed {
		if !named[id] {
			here += store.LayerSize(l)
		}
	}
	bound, _, err := m.bound(rule, here)
	return here - bound, err
}

// again reports whether nothing names an image that can be had again.
func again(l store.Listed) bool {
	return len(l.Names) == 0 && (l.Origin == store.FromRecipe || l.Origin == store.FromPull && l.Source != "")
}
