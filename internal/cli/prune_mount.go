package cli

import (
	"context"
	"path/filepath"
	"slices"

	"builder/internal/depot"
)

// The kinds of caches, as docker calls them.
const (
	kindLayer   = "regular"
	kindFetched = "source"
	kindMount   = "exec.cachemount"
)

// cacheKinds are what --filter type=… takes.
func cacheKinds() []string { return []string{kindLayer, kindFetched, kindMount} }

// kind says what a cache is.
func (c cached) kind() string {
	switch {
	case c.mount != nil:
		return kindMount
	case c.fetched != "":
		return kindFetched
	default:
		return kindLayer
	}
}

// checkKinds checks the values of --filter type=….
func (f filters) checkKinds() error {
	for _, kind := range f["type"] {
		if !slices.Contains(cacheKinds(), kind) {
			return usage("--filter: there are no caches of type %q", kind).WithHint("%s, %s or %s", kindLayer, kindFetched, kindMount)
		}
	}
	return nil
}

// cacheMounts returns the directories that cache mounts keep, those that no step
// uses as caches to be pruned.
func (m *machine) cacheMounts(ctx context.Context) (free []cached, active usageRow, err error) {
	list, err := m.cache.Mounts()
	if err != nil {
		return nil, active, err
	}
	for i := range list {
		size, err := depot.TreeSize(ctx, list[i].Dir)
		if err != nil {
			return nil, active, err
		}
		if list[i].Active {
			active.total++
			active.active++
			active.size += size
			continue
		}
		free = append(free, cached{mount: &list[i], used: list[i].Used, size: size})
	}
	return free, active, nil
}

// mountUsage counts cache mounts for system df.
func (m *machine) mountUsage(ctx context.Context) (usageRow, error) {
	free, u, err := m.cacheMounts(ctx)
	u.kind = "Cache Mounts"
	u.total += len(free)
	u.reclaimable = total(free)
	u.size += u.reclaimable
	return u, err
}

// mountName is what prune calls the directory of a cache mount.
func (c cached) mountName() string { return filepath.Base(filepath.Dir(c.mount.Dir))[:12] }
