package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/internal/container"
	"builder/internal/depot"
)

// newSystemGroup is "builder system".
func newSystemGroup(g *globals) *cobra.Command {
	return group("system", "What all of it takes, and getting rid of it", "  builder system df", newSystemDF(g), newSystemInfo(g), newSystemPrune(g))
}

// usageRow is one kind of things in system df.
type usageRow struct {
	kind              string
	total, active     int
	size, reclaimable int64
}

func newSystemDF(g *globals) *cobra.Command {
	var format string
	var verbose bool
	cmd := &cobra.Command{
		Use:     "df [OPTIONS]",
		Short:   "Show what images, containers, volumes and caches take",
		Example: "  builder system df --verbose",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if verbose {
				return g.verboseDF(cmd, format)
			}
			show, err := printer(format)
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				rows, shared, err := m.usage(ctx)
				if err != nil {
					return err
				}
				l := listing{columns: []column{{"Type", "TYPE"}, {"TotalCount", "TOTAL"}, {"Active", "ACTIVE"}, {"Size", "SIZE"}, {"Reclaimable", "RECLAIMABLE"}}}
				for _, r := range rows {
					l.rows = append(l.rows, r.row())
				}
				if err := show(g.out, l); err != nil || format != "" || shared == 0 {
					return err
				}
				_, err = fmt.Fprintf(g.out, "\nLayers that images share are here once: that saves %s.\n", shortSize(shared))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "table, json, a Go template, or table and a template; with -v, over .Images, .Containers, .Volumes, .BuildCache")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "list each image, container, volume and cache")
	return cmd
}

// verboseDF is system df -v.
func (g *globals) verboseDF(cmd *cobra.Command, format string) error {
	show, err := verbosePrinter(format)
	if err != nil {
		return err
	}
	return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
		lists, caches, err := m.usageLists(ctx, format != "" && format != "table")
		if err != nil {
			return err
		}
		return show(g.out, lists, caches)
	})
}

func (r usageRow) row() row {
	part := ""
	if r.size > 0 {
		part = fmt.Sprintf(" (%d%%)", r.reclaimable*100/r.size)
	}
	return row{
		"Type": r.kind, "TotalCount": strconv.Itoa(r.total), "Active": strconv.Itoa(r.active),
		"Size": shortSize(r.size), "Reclaimable": shortSize(r.reclaimable) + part,
	}
}

// usage adds up what is here, and what sharing saves.
func (m *machine) usage(ctx context.Context) (rows []usageRow, shared int64, err error) {
	used, err := m.imagesInUse()
	if err != nil {
		return nil, 0, err
	}
	images, shared, err := m.imageUsage(used)
	if err != nil {
		return nil, 0, err
	}
	containers, err := m.containerUsage(ctx)
	if err != nil {
		return nil, 0, err
	}
	volumes, err := m.volumeUsage(ctx)
	if err != nil {
		return nil, 0, err
	}
	free, others, err := m.caches(ctx)
	if err != nil {
		return nil, 0, err
	}
	mounts, free, err := m.mountUsage(ctx, free)
	if err != nil {
		return nil, 0, err
	}
	caches := usageRow{kind: "Build Cache", total: len(free) + len(others), active: len(others), size: total(free), reclaimable: total(free)}
	return []usageRow{images, containers, volumes, caches, mounts}, shared, nil
}

// imageUsage counts each layer once. What a container has is not reclaimable.
func (m *machine) imageUsage(used map[image.Digest]bool) (usageRow, int64, error) {
	u := usageRow{kind: "Images"}
	records, err := m.store.Records()
	if err != nil {
		return u, 0, err
	}
	sizes, kept, known := map[image.Digest]int64{}, map[image.Digest]bool{}, m.sizes()
	var sum int64
	for _, r := range records {
		u.total++
		if used[r.ID] {
			u.active++
		}
		for _, l := range r.Layers {
			size := known.layer(l)
			sum += size
			sizes[l.DiffID] = max(sizes[l.DiffID], size)
			kept[l.DiffID] = kept[l.DiffID] || used[r.ID]
		}
	}
	for diffID, size := range sizes {
		u.size += size
		if !kept[diffID] {
			u.reclaimable += size
		}
	}
	return u, sum - u.size, nil
}

func (m *machine) containerUsage(ctx context.Context) (usageRow, error) {
	u := usageRow{kind: "Containers"}
	all, err := m.containers().List()
	if err != nil {
		return u, err
	}
	for _, c := range all {
		size, err := depot.TreeSize(ctx, m.path("containers", c.ID))
		if err != nil {
			return u, err
		}
		u.total++
		u.size += size
		if c.Status == container.Running {
			u.active++
		} else {
			u.reclaimable += size
		}
	}
	return u, nil
}

// volumeUsage counts volumes. Those that a container has, running or not, are
// active, as docker counts them.
func (m *machine) volumeUsage(ctx context.Context) (usageRow, error) {
	u := usageRow{kind: "Local Volumes"}
	all, err := m.containers().ListVolumes()
	if err != nil {
		return u, err
	}
	users, err := m.containers().VolumeUsers()
	if err != nil {
		return u, err
	}
	for _, v := range all {
		size, err := depot.TreeSize(ctx, v.Dir)
		if err != nil {
			return u, err
		}
		u.total++
		u.size += size
		if len(users[v.Name]) > 0 {
			u.active++
		} else {
			u.reclaimable += size
		}
	}
	return u, nil
}

// systemWarning says what system prune is about to do, in docker's lines.
func systemWarning(all, volumes bool, filters []string) string {
	what := []string{"all stopped containers"}
	if volumes {
		what = append(what, "all anonymous volumes not used by at least one container")
	}
	if all {
		what = append(what, "all images without at least one container associated to them", "all build cache")
	} else {
		what = append(what, "all dangling images", "unused build cache")
	}
	text := ":\n  - " + strings.Join(what, "\n  - ") + "\n"
	if len(filters) > 0 {
		filters = slices.Sorted(slices.Values(filters))
		text += "\n  Items to be pruned will be filtered with:\n  - " + strings.Join(filters, "\n  - ") + "\n"
	}
	return text
}

func newSystemPrune(g *globals) *cobra.Command {
	var force, all, volumes bool
	var words []string
	var keep string
	cmd := &cobra.Command{
		Use:     "prune [OPTIONS]",
		Short:   "Remove stopped containers, images that nothing names, and caches",
		Example: "  builder system prune\n  builder system prune --all --force --filter until=168h",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := parseFilters(words, "until", "label", "label!")
			if err != nil {
				return err
			}
			until, err := keys.until()
			if err != nil {
				return err
			}
			if volumes && len(until) > 0 {
				return usage("--volumes and --filter until= do not go together: of a volume it is not known when it was used")
			}
			left, err := parseKeep(keep)
			if err != nil {
				return err
			}
			what := systemWarning(all, volumes, words)
			if yes, err := g.confirm(force, what); err != nil || !yes {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				ids, stopped, err := m.pruneContainers(ctx, until, keys)
				if err != nil {
					return err
				}
				g.printPruned("Deleted Containers:", ids)
				if volumes {
					emptied, freed, err := m.pruneVolumes(ctx, keys, false)
					if stopped += freed; err != nil {
						return err
					}
					g.printPruned("Deleted Volumes:", emptied)
				}
				lines, freed, err := m.pruneImages(ctx, keys, all, left)
				g.printPruned("Deleted Images:", lines)
				if err != nil {
					return err
				}
				var gone []cached
				if keys.labelled(nil) { // caches have no labels
					if gone, err = m.pruneCaches(ctx, pruneRule{until: until, all: all, keep: left}); err != nil {
						return err
					}
				}
				var names []string
				for _, c := range gone {
					names = append(names, c.name())
				}
				g.printPruned("Deleted build cache objects:", names)
				_, err = fmt.Fprintf(g.out, "Total reclaimed space: %s\n", byteCount(stopped+max(freed, total(gone))))
				return err
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&force, "force", "f", false, "do not ask")
	fl.BoolVarP(&all, "all", "a", false, "remove all images that no container has")
	fl.BoolVar(&volumes, "volumes", false, "remove anonymous volumes that no container has, too")
	fl.StringArrayVar(&words, "filter", nil, "remove what fits: until=DURATION|DATE, label=NAME[=VALUE], label!=NAME[=VALUE]; caches have no labels")
	fl.StringVar(&keep, "keep-storage", "", "leave so much of the images and of the caches, of what was made and used last, such as 10gb")
	return cmd
}
