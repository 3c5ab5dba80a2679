package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"builder/image"
	"builder/internal/depot"
)

// usageLists is what system df -v shows: templates and JSON see the rows by these
// names, which are docker's.
type usageLists struct {
	Images, Containers, Volumes, BuildCache []row
}

// usageTables are the columns of the lists, in docker's order.
var usageTables = struct{ images, containers, volumes, caches []column }{
	images: []column{
		{"Repository", "REPOSITORY"}, {"Tag", "TAG"}, {"ID", "IMAGE ID"}, {"CreatedSince", "CREATED"},
		{"Size", "SIZE"}, {"SharedSize", "SHARED SIZE"}, {"UniqueSize", "UNIQUE SIZE"}, {"Containers", "CONTAINERS"},
	},
	containers: []column{
		{"ID", "CONTAINER ID"}, {"Image", "IMAGE"}, {"Command", "COMMAND"}, {"LocalVolumes", "LOCAL VOLUMES"},
		{"Size", "SIZE"}, {"RunningFor", "CREATED"}, {"Status", "STATUS"}, {"Names", "NAMES"},
	},
	volumes: []column{{"Name", "VOLUME NAME"}, {"Links", "LINKS"}, {"Size", "SIZE"}},
	caches: []column{
		{"ID", "CACHE ID"}, {"CacheType", "CACHE TYPE"}, {"Size", "SIZE"}, {"CreatedSince", "CREATED"},
		{"LastUsedSince", "LAST USED"}, {"UsageCount", "USAGE"}, {"Shared", "SHARED"},
	},
}

// verbosePrinter returns how the lists are shown: as four tables, or all at once
// by a template.
func verbosePrinter(format string) (func(w io.Writer, u usageLists, caches int64) error, error) {
	if format == "" || format == "table" {
		return printUsage, nil
	}
	if strings.HasPrefix(format, "table ") {
		return nil, usage("--format: -v shows four tables, and no template makes them one").WithHint("write a template over .Images, .Containers, .Volumes and .BuildCache")
	}
	if format == "json" {
		format = "{{json .}}"
	}
	t, err := parseTemplate(unescape(format))
	if err != nil {
		return nil, err
	}
	t.Option("missingkey=error")
	return func(w io.Writer, u usageLists, _ int64) error {
		if err := t.Execute(w, u); err != nil {
			return usage("--format: %v", err)
		}
		_, err := fmt.Fprintln(w)
		return err
	}, nil
}

func printUsage(w io.Writer, u usageLists, caches int64) error {
	for _, part := range []struct {
		title   string
		columns []column
		rows    []row
	}{
		{"Images space usage:", usageTables.images, u.Images},
		{"\nContainers space usage:", usageTables.containers, u.Containers},
		{"\nLocal Volumes space usage:", usageTables.volumes, u.Volumes},
		{"\nBuild cache usage: " + byteCount(caches), usageTables.caches, u.BuildCache},
	} {
		fmt.Fprintf(w, "%s\n\n", part.title)
		if err := printTable(w, listing{columns: part.columns, rows: part.rows}); err != nil {
			return err
		}
	}
	return nil
}

// usageLists lists all that takes room here, and how much all caches take.
func (m *machine) usageLists(ctx context.Context, noTrunc bool) (u usageLists, caches int64, err error) {
	if u.Images, err = m.imageUsageRows(noTrunc); err != nil {
		return u, 0, err
	}
	if u.Containers, err = m.containerUsageRows(ctx, noTrunc); err != nil {
		return u, 0, err
	}
	if u.Volumes, err = m.volumeUsageRows(ctx); err != nil {
		return u, 0, err
	}
	all, err := m.everyCache(ctx)
	u.BuildCache = []row{}
	for _, c := range all {
		caches += c.size
		u.BuildCache = append(u.BuildCache, cacheUsageRow(c))
	}
	return u, caches, err
}

// imageUsageRows has a row for each image, under the first of its tags. Of its
// size, shared is what the layers take that other images have too.
func (m *machine) imageUsageRows(noTrunc bool) ([]row, error) {
	all, err := m.store.List()
	if err != nil {
		return nil, err
	}
	containers, err := m.containers().List()
	if err != nil {
		return nil, err
	}
	users := map[image.Digest]int{}
	for _, c := range containers {
		users[c.Image]++
	}
	havers, known := map[image.Digest]int{}, m.sizes()
	for _, l := range all {
		for diffID := range diffIDs(l.Layers) {
			havers[diffID]++
		}
	}
	rows := []row{}
	for _, l := range all {
		var shared int64
		for _, layer := range l.Layers {
			if havers[layer.DiffID] > 1 {
				shared += known.layer(layer)
			}
		}
		size := known.image(l.Record)
		r := imageRow(l, rowNames(l, false)[0], size, noTrunc)
		r["SharedSize"], r["UniqueSize"], r["Containers"] = shortSize(shared), shortSize(size-shared), strconv.Itoa(users[l.ID])
		r["VirtualSize"] = r["Size"]
		rows = append(rows, r)
	}
	return rows, nil
}

// diffIDs is the set of layers of an image: a layer may be there twice.
func diffIDs(layers []image.Layer) map[image.Digest]bool {
	set := make(map[image.Digest]bool, len(layers))
	for _, l := range layers {
		set[l.DiffID] = true
	}
	return set
}

func (m *machine) containerUsageRows(ctx context.Context, noTrunc bool) ([]row, error) {
	all, err := m.containers().List()
	if err != nil {
		return nil, err
	}
	names, err := m.store.Names()
	if err != nil {
		return nil, err
	}
	rows, f := []row{}, &psFlags{noTrunc: noTrunc}
	for _, c := range all {
		size, err := depot.TreeSize(ctx, m.path("containers", c.ID))
		if err != nil {
			return nil, err
		}
		r := f.row(c, names)
		r["Size"] = shortSize(size)
		rows = append(rows, r)
	}
	return rows, nil
}

func (m *machine) volumeUsageRows(ctx context.Context) ([]row, error) {
	all, err := m.containers().ListVolumes()
	if err != nil {
		return nil, err
	}
	users, err := m.containers().VolumeUsers()
	if err != nil {
		return nil, err
	}
	rows := []row{}
	for _, v := range all {
		size, err := depot.TreeSize(ctx, v.Dir)
		if err != nil {
			return nil, err
		}
		r := volumeRow(v)
		r["Links"], r["Size"] = strconv.Itoa(len(users[v.Name])), shortSize(size)
		rows = append(rows, r)
	}
	return rows, nil
}

// cacheUsageRow has docker's fields of caches. How often one was used is not
// counted, and a layer does not say what it was made on.
func cacheUsageRow(c cached) row {
	created, at := "N/A", "N/A"
	if !c.made.IsZero() {
		created, at = ago(c.made), c.made.Local().String()
	}
	return row{
		"ID": c.name(), "Parent": "", "CacheType": c.kind(), "Size": shortSize(c.size), "CreatedSince": created, "CreatedAt": at,
		"LastUsedSince": ago(c.used), "LastUsedAt": c.used.Local().String(), "UsageCount": "N/A",
		"InUse": strconv.FormatBool(c.active), "Shared": strconv.FormatBool(c.shared), "Description": c.description,
	}
}
