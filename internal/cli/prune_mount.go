package cli

import (
	"context"
	"path/filepath"

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

// cacheMounts returns the directories that cache mounts keep and no step uses, as caches
// to be pruned.
func (m *machine) cacheMounts(ctx context.Context) ([]cached, error) {
	list, err := m.cache.Mounts()
	if err != nil {
		return nil, err
	}
	var free []cached
	for i := range list {
		if list[i].Active {
			continue
		}
		size, err := depot.TreeSize(ctx, list[i].Dir)
		if err != nil {
			return nil, err
		}
		free = append(free, cached{mount: &list[i], used: list[i].Used, size: size})
	}
	return free, nil
}

// mountUsage counts cache mounts for system df: those among caches, and those that
// steps use. It returns the other caches as well.
func (m *machine) mountUsage(ctx context.Context, caches []cached) (u usageRow, others []cached, err error) {
	u.kind = "Cache Mounts"
	for _, c := range caches {
		if c.mount == nil {
			others = append(others, c)
			continue
		}
		u.total++
		u.size += c.size
		u.reclaimable += c.size
	}
	list, err := m.cache.Mounts()
	if err != nil {
		return u, nil, err
	}
	for _, info := range list {
		if !info.Active {
			continue
		}
		size, err := depot.TreeSize(ctx, info.Dir)
		if err != nil {
			return u, nil, err
		}
		u.total++
		u.active++
		u.size += size
	}
	return u, others, nil
}

// mountName is what prune calls the directory of a cache mount.
func (c cached) mountName() string { return filepath.Base(filepath.Dir(c.mount.Dir))[:12] }
