package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"builder/cache"
	"builder/image"
	"builder/image/store"
	"builder/internal/container"
	"builder/internal/depot"
	"builder/snapshot"
)

// needed is what images and containers are made of.
type needed struct {
	layers map[image.ContentDigest]bool
	trees  map[snapshot.ID]bool
	diffs  map[image.Digest]bool
}

// needed collects what must stay whatever is pruned: layers of images, those of
// containers, and the trees of both.
func (m *machine) needed() (needed, error) {
	n := needed{map[image.ContentDigest]bool{}, map[snapshot.ID]bool{}, map[image.Digest]bool{}}
	records, err := m.store.Records()
	if err != nil {
		return n, err
	}
	for _, r := range records {
		n.add(r.Layers)
	}
	containers, err := m.containers().List()
	if err != nil {
		return n, err
	}
	for _, c := range containers {
		n.add(c.Layers)
		n.trees[c.Tree] = true
	}
	return n, nil
}

// add adds an image's layers, as what they are and as the bases that they can be.
func (n needed) add(layers []image.Layer) {
	var made, base snapshot.ID
	for _, l := range layers {
		foreign := image.ForeignContent(l.DiffID)
		made, base = snapshot.Chain(made, l.Content), snapshot.Chain(base, foreign)
		n.layers[l.Content], n.layers[foreign] = true, true
		n.trees[made], n.trees[base] = true, true
		n.diffs[l.DiffID] = true
	}
}

// cached is a layer that only the cache keeps, or something that was fetched.
type cached struct {
	depot.Listed
	keys []cache.Key
	used time.Time
	made time.Time // zero where no record says so
	size int64
	// fetched, where it is not empty, is what a fetcher keeps there instead of a layer.
	fetched string
	// mount, where it is not nil, is the directory of a cache mount.
	mount *cache.MountInfo
	// shared says that an image or a container has it, active that a step uses it.
	shared, active bool
	description    string // what made it, where it is known
}

// caches returns the layers that neither images nor containers need and what was fetched, those that
// were used longest ago first, and the records of the others.
func (m *machine) caches(ctx context.Context) (free []cached, others []cache.Listed, err error) {
	need, err := m.needed()
	if err != nil {
		return nil, nil, err
	}
	layers, err := m.depot.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	records, err := m.cache.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	byLayer := map[image.ContentDigest][]cache.Listed{}
	for _, r := range records {
		byLayer[r.Layer] = append(byLayer[r.Layer], r)
	}
	for _, l := range layers {
		recorded := byLayer[l.Content]
		delete(byLayer, l.Content)
		if need.keeps(l) {
			others = append(others, recorded...)
			continue
		}
		c := cached{Listed: l, used: l.Used}
		for _, r := range recorded {
			c.keys = append(c.keys, r.Key)
			c.description = describe(r.Parts)
			if c.made.IsZero() || r.Made.Before(c.made) {
				c.made = r.Made
			}
			if r.Used.After(c.used) {
				c.used = r.Used
			}
		}
		if c.size, err = m.depot.Size(ctx, l); err != nil {
			return nil, nil, err
		}
		free = append(free, c)
	}
	for _, gone := range byLayer {
		others = append(others, gone...)
	}
	fetched, err := m.fetched()
	if err != nil {
		return nil, nil, err
	}
	mounts, err := m.cacheMounts(ctx)
	if err != nil {
		return nil, nil, err
	}
	free = slices.Concat(free, fetched, mounts)
	slices.SortFunc(free, func(a, b cached) int { return a.used.Compare(b.used) })
	return free, others, nil
}

// keeps reports whether a layer is needed, itself or what was made of it.
func (n needed) keeps(l depot.Listed) bool {
	return n.layers[l.Content] ||
		slices.ContainsFunc(l.Trees, func(id snapshot.ID) bool { return n.trees[id] }) ||
		slices.ContainsFunc(l.Tars, func(d image.Digest) bool { return n.diffs[d] })
}

// errBusy is returned where other commands are at work that use what is here.
var errBusy = errors.New("a build or another command of builder is at work here: nothing was removed")

// alone runs do while no other process builds or pulls.
func (m *machine) alone(do func() error) error {
	if err := m.letGo(); err != nil {
		return err
	}
	release, ok, err := m.store.Exclusive()
	if err != nil {
		return err
	}
	if !ok {
		e := usage("%v", errBusy).WithHint("try again when it is done")
		e.Err = errBusy
		return e
	}
	return errors.Join(do(), release())
}

// pruneRule says which caches go.
type pruneRule struct {
	until []time.Time  // used before each of these
	keep  int64        // bytes of cache that stay, the last used ones
	max   int64        // bytes of cache that may be
	free  int64        // bytes of the disk that are to be free
	all   bool         // records of what images have, too
	fits  *cacheFilter // of these only; nil is all
}

// bound returns how many bytes of caches stay of those that are here, and false
// where nothing bounds them. The rules are those of BuildKit's garbage collection.
func (r pruneRule) bound(here, free int64) (int64, bool) {
	if r.keep == 0 && r.max == 0 && r.free == 0 {
		return 0, false
	}
	bound := r.max
	switch missing := r.free - free; {
	case r.free != 0 && missing > 0:
		if left := max(here-missing, 0); bound == 0 || left < bound {
			bound = left
		}
	case r.free != 0 && bound == 0:
		bound = here
	}
	return max(bound, r.keep), true
}

// pruneCaches removes caches, and returns what went. Beside other processes only what none
// of them can be using goes, and somebody is told that more would have.
func (m *machine) pruneCaches(ctx context.Context, rule pruneRule) (gone []cached, err error) {
	err = m.alone(func() error {
		gone, _, err = m.pruneSome(ctx, rule, m.forget)
		return err
	})
	if !errors.Is(err, errBusy) {
		return gone, err
	}
	// Who uses something notes that, or finds it noted less than that long ago. A
	// process that is not listed here has found nothing yet.
	since := time.Now()
	oldest, ok, err := m.cache.Oldest()
	if err != nil {
		return nil, err
	}
	if ok && oldest.Before(since) {
		since = oldest
	}
	since = since.Add(-2 * depot.Fresh)
	gone, stay, err := m.pruneSome(ctx, rule, func(ctx context.Context, c cached) (bool, error) { return m.forgetUnused(ctx, c, since) })
	if stay > 0 && err == nil && !m.quietly {
		fmt.Fprintf(m.err, "%d more stay: other commands of builder are at work here and may use them\n", stay)
	}
	return gone, err
}

// pruneSome removes caches, each with forget, which reports false for one that
// somebody uses. stay is how many that were.
func (m *machine) pruneSome(ctx context.Context, rule pruneRule, forget func(context.Context, cached) (bool, error)) (gone []cached, stay int, err error) {
	free, others, err := m.caches(ctx)
	if err != nil {
		return nil, 0, err
	}
	var left int64
	for _, c := range free {
		left += c.size
	}
	bound, bounded, err := m.bound(rule, left)
	if err != nil {
		return nil, 0, err
	}
	for _, c := range free {
		if bounded && left <= bound || !rule.before(c.used) || rule.fits != nil && !rule.fits.matches(&c) {
			continue
		}
		ok, err := forget(ctx, c)
		if err != nil {
			return gone, stay, err
		}
		if !ok {
			stay++
			continue
		}
		left -= c.size
		gone = append(gone, c)
	}
	for _, r := range others {
		c := cached{Listed: depot.Listed{Content: r.Layer}, used: r.Used, shared: true, description: describe(r.Parts)}
		if bounded && left <= bound || !rule.all || !rule.before(r.Used) || rule.fits != nil && !rule.fits.matches(&c) {
			continue
		}
		if err := m.cache.Forget(r.Key); err != nil {
			return gone, stay, err
		}
	}
	return gone, stay, nil
}

func (r pruneRule) before(used time.Time) bool {
	return !slices.ContainsFunc(r.until, func(at time.Time) bool { return !used.Before(at) })
}

// bound is what a rule lets stay of so many bytes of caches.
func (m *machine) bound(rule pruneRule, here int64) (int64, bool, error) {
	var disk unix.Statfs_t
	if rule.free != 0 {
		if err := unix.Statfs(m.path(), &disk); err != nil {
			return 0, false, fmt.Errorf("free space of %s: %w", m.path(), err)
		}
	}
	bound, bounded := rule.bound(here, int64(disk.Bavail)*disk.Bsize)
	return bound, bounded, nil
}

// forget removes one cache. It returns false where somebody uses it.
func (m *machine) forget(ctx context.Context, c cached) (bool, error) {
	switch c.kind() {
	case kindMount:
		return m.lease.RemoveMount(*c.mount)
	case kindFetched:
		return true, m.forgetFetched(c.fetched)
	default:
		return true, m.forgetLayer(ctx, c)
	}
}

// forgetLayer removes one cached layer: first what leads to it.
func (m *machine) forgetLayer(ctx context.Context, c cached) error {
	for _, k := range c.keys {
		if err := m.cache.Forget(k); err != nil {
			return err
		}
	}
	if err := m.depot.Remove(ctx, m.lease.Trash, c.Listed); err != nil {
		return err
	}
	return m.forgetTars(c)
}

// forgetUnused is forget beside other processes: it removes what nobody has used since a
// time. What is known by no lookup that notes its use stays.
func (m *machine) forgetUnused(ctx context.Context, c cached, since time.Time) (bool, error) {
	switch {
	case c.kind() == kindMount:
		return m.lease.RemoveMount(*c.mount)
	case c.kind() == kindFetched, c.Base != nil:
		return false, nil
	}
	ok, err := m.depot.RemoveUnused(ctx, m.lease.Trash, since, c.Listed, func() error { return m.forgetTars(c) })
	if !ok || err != nil {
		return false, err
	}
	for _, k := range c.keys {
		if err := m.cache.Forget(k); err != nil {
			return true, err
		}
	}
	return true, nil
}

// forgetTars removes the blobs of a layer that is removed.
func (m *machine) forgetTars(c cached) error {
	tars := c.Tars
	if c.Base != nil && c.Base.Blob != nil {
		tars = append(tars[:len(tars):len(tars)], c.Base.Blob.Digest)
	}
	for _, tar := range tars {
		if err := errors.Join(m.store.DiscardPacked(tar), m.store.DiscardBlob(tar)); err != nil {
			return err
		}
	}
	return nil
}

func total(gone []cached) int64 {
	var n int64
	for _, c := range gone {
		n += c.size
	}
	return n
}

// confirm asks before something is removed.
func (g *globals) confirm(force bool, what string) (bool, error) {
	if force {
		return true, nil
	}
	fmt.Fprintf(g.err, "WARNING! This will remove%s\nAre you sure you want to continue? [y/N] ", what)
	line, err := bufio.NewReader(g.in).ReadString('\n')
	if err != nil && line == "" {
		return false, nil //nolint:nilerr // no answer is no
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}

// pruneWarning says what builder prune is about to do.
func pruneWarning(all bool) string {
	if all {
		return " all build cache that no image and no container needs, and how the layers of images were built."
	}
	return " all dangling build cache: what no image and no container needs."
}

// newBuilderGroup is "builder builder", docker's name for what is done to caches.
func newBuilderGroup(g *globals) *cobra.Command {
	return group("builder", "Manage the caches of builds", "  builder builder prune --filter until=168h", newPrune(g, "prune [OPTIONS]"), newDu(g), newBuild(g), newHistoryGroup(g))
}

func newPrune(g *globals, use string) *cobra.Command {
	var force, all, verbose bool
	var words []string
	var keep, most, free string
	cmd := &cobra.Command{
		Use:     use,
		Short:   "Remove caches of builds that no image and no container needs",
		Example: "  builder prune --filter until=168h\n  builder prune --force --keep-storage 10gb",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			fits, err := parseCacheFilters(words)
			if err != nil {
				return err
			}
			rule := pruneRule{all: all, fits: fits}
			for _, size := range []struct {
				flag, text string
				to         *int64
			}{{"--keep-storage", keep, &rule.keep}, {"--max-used-space", most, &rule.max}, {"--min-free-space", free, &rule.free}} {
				if size.text != "" {
					if *size.to, err = parseBytes(size.flag, size.text); err != nil {
						return err
					}
				}
			}
			if yes, err := g.confirm(force, pruneWarning(all)); err != nil || !yes {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				gone, err := m.pruneCaches(ctx, rule)
				if err != nil {
					return err
				}
				l := listing{columns: []column{{"ID", "ID"}, {"Size", "SIZE"}, {"Used", "LAST ACCESSED"}}}
				for _, c := range gone {
					l.rows = append(l.rows, row{"ID": c.name(), "Size": shortSize(c.size), "Used": ago(c.used)})
				}
				switch {
				case verbose:
					g.printCaches(gone)
				case len(gone) > 0:
					if err := printTable(g.out, l); err != nil {
						return err
					}
				}
				_, err = fmt.Fprintf(g.out, "Total:\t%s\n", byteCount(total(gone)))
				return err
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&force, "force", "f", false, "do not ask")
	fl.BoolVarP(&all, "all", "a", false, "forget how the layers of images were built, too; the images stay")
	fl.BoolVar(&verbose, "verbose", false, "show all that is known of what goes")
	fl.StringArrayVar(&words, "filter", nil, "remove what fits: "+strings.Join(slices.Concat(cacheTexts, cacheClaims, cacheTimes), ", "))
	fl.StringVar(&keep, "keep-storage", "", "leave so much, of what was used last, such as 10gb")
	fl.StringVar(&keep, "reserved-space", "", "the same as --keep-storage")
	fl.StringVar(&most, "max-used-space", "", "remove no more than it takes to come below this")
	fl.StringVar(&free, "min-free-space", "", "remove no more than it takes to have so much free on the disk")
	cmd.MarkFlagsMutuallyExclusive("keep-storage", "reserved-space")
	return cmd
}

// pruneImages removes images that nothing names, or with all those that no
// container has, the oldest first, until no more than keep bytes are left where
// that is not 0.
func (m *machine) pruneImages(ctx context.Context, keys filters, all bool, keep int64) (lines []string, freed int64, err error) {
	listed, err := m.store.List()
	if err != nil {
		return nil, 0, err
	}
	used, err := m.imagesInUse()
	if err != nil {
		return nil, 0, err
	}
	until, err := keys.until()
	if err != nil {
		return nil, 0, err
	}
	usage, _, err := m.imageUsage(used)
	if err != nil {
		return nil, 0, err
	}
	if err := m.letGo(); err != nil {
		return nil, 0, err
	}
	slices.Reverse(listed)
	for _, l := range listed {
		if keep > 0 && usage.size-freed <= keep {
			break
		}
		fit, err := m.prunable(ctx, l, keys, until)
		if err != nil {
			return lines, freed, err
		}
		if !fit || used[l.ID] || len(l.Names) > 0 && !all {
			continue
		}
		removed, err := m.store.Remove(ctx, string(l.ID), store.RemoveOptions{Force: true})
		for _, line := range removed.Lines() {
			lines = append(lines, strings.ToLower(line[:1])+line[1:]) // as docker has it here
		}
		for _, layer := range removed.Layers {
			freed += store.LayerSize(layer)
		}
		if err != nil {
			return lines, freed, err
		}
	}
	return lines, freed, nil
}

func (m *machine) prunable(ctx context.Context, l store.Listed, keys filters, until []time.Time) (bool, error) {
	for _, at := range until {
		if !l.Made.Before(at) {
			return false, nil
		}
	}
	if len(keys["label"])+len(keys["label!"]) == 0 {
		return true, nil
	}
	c, _, err := m.store.Config(ctx, l.ID)
	if err != nil {
		return false, err
	}
	return keys.labelled(c.Config.Labels), nil
}

// imagesInUse are the images of containers.
func (m *machine) imagesInUse() (map[image.Digest]bool, error) {
	containers, err := m.containers().List()
	if err != nil {
		return nil, err
	}
	used := map[image.Digest]bool{}
	for _, c := range containers {
		used[c.Image] = true
	}
	return used, nil
}

func newImagePrune(g *globals) *cobra.Command {
	var force, all bool
	var words []string
	var keep string
	cmd := &cobra.Command{
		Use:     "prune [OPTIONS]",
		Short:   "Remove images that nothing names",
		Example: "  builder image prune\n  builder image prune -a --filter until=720h",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := parseFilters(words, "until", "label", "label!", "dangling")
			if err != nil {
				return err
			}
			if dangling, set, err := keys.claim("dangling"); err != nil || set {
				if err != nil {
					return err
				}
				all = !dangling
			}
			left, err := parseKeep(keep)
			if err != nil {
				return err
			}
			what := " all dangling images."
			if all {
				what = " all images without at least one container associated to them."
			}
			if yes, err := g.confirm(force, what); err != nil || !yes {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				lines, freed, err := m.pruneImages(ctx, keys, all, left)
				g.printPruned("Deleted Images:", lines)
				fmt.Fprintf(g.out, "Total reclaimed space: %s\n", byteCount(freed))
				return err
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&force, "force", "f", false, "do not ask")
	fl.BoolVarP(&all, "all", "a", false, "remove all images that no container has")
	fl.StringArrayVar(&words, "filter", nil, "remove what fits: until=DURATION|DATE, label=NAME[=VALUE], label!=NAME[=VALUE]")
	fl.StringVar(&keep, "keep-storage", "", "leave so much, of what was made last, such as 10gb")
	return cmd
}

func (g *globals) printPruned(head string, lines []string) {
	if len(lines) > 0 {
		fmt.Fprintf(g.out, "%s\n%s\n\n", head, strings.Join(lines, "\n"))
	}
}

// parseKeep reads the value of --keep-storage. None is 0: nothing has to stay.
func parseKeep(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	return parseBytes("--keep-storage", text)
}

// pruneContainers removes the containers that do not run and have the labels.
func (m *machine) pruneContainers(ctx context.Context, until []time.Time, keys filters) (ids []string, freed int64, err error) {
	all, err := m.containers().List()
	if err != nil {
		return nil, 0, err
	}
	for _, c := range all {
		if c.Status == container.Running || !keys.labelled(c.Run.Labels) || slices.ContainsFunc(until, func(at time.Time) bool { return !c.Config.Created.Before(at) }) {
			continue
		}
		size, err := depot.TreeSize(ctx, m.path("containers", c.ID))
		if err != nil {
			return ids, freed, err
		}
		if err := m.containers().Remove(c, container.RemoveOptions{}); err != nil {
			return ids, freed, err
		}
		ids, freed = append(ids, c.ID), freed+size
	}
	return ids, freed, nil
}
