package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/store"
	"builder/internal/container"
	"builder/parser"
)

// psFlags are the flags of ps as they were typed.
type psFlags struct {
	all, latest, quiet, noTrunc bool
	size                        bool
	last                        int
	filters                     []string
	format                      string
}

// psFilters are the keys that ps --filter takes.
var psFilters = []string{"id", "name", "label", "status", "exited", "ancestor", "before", "since", "network", "volume", "publish", "expose"}

func newPs(g *globals) *cobra.Command {
	f := &psFlags{}
	cmd := &cobra.Command{
		Use:     "ps [OPTIONS]",
		Short:   "List containers",
		Example: "  builder ps -a --filter status=exited",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			format := f.format
			if f.quiet && format == "" {
				format = "{{.ID}}"
			}
			show, err := printer(format)
			if err != nil {
				return err
			}
			keys, err := parseFilters(f.filters, psFilters...)
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				rows, err := f.list(ctx, m, keys)
				if err != nil {
					return err
				}
				return show(g.out, psListing(rows, f.size))
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.all, "all", "a", false, "show those that do not run as well")
	fl.BoolVarP(&f.size, "size", "s", false, "show what the containers' files take")
	fl.BoolVarP(&f.latest, "latest", "l", false, "show the container made last")
	fl.IntVarP(&f.last, "last", "n", -1, "show so many of the containers made last")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show IDs only")
	fl.BoolVar(&f.noTrunc, "no-trunc", false, "show everything in full")
	fl.StringArrayVarP(&f.filters, "filter", "f", nil, "show what fits, as KEY=VALUE: "+strings.Join(psFilters, ", "))
	fl.StringVar(&f.format, "format", "", "table, json, a Go template, or table and a template")
	return cmd
}

func psListing(rows []row, size bool) listing {
	l := listing{
		columns: []column{
			{"ID", "CONTAINER ID"}, {"Image", "IMAGE"}, {"Command", "COMMAND"}, {"RunningFor", "CREATED"},
			{"Status", "STATUS"}, {"Ports", "PORTS"}, {"Names", "NAMES"},
		},
		more: map[string]string{
			"CreatedAt": "CREATED AT", "State": "STATE", "Labels": "LABELS", "Mounts": "MOUNTS",
			"Networks": "NETWORKS", "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE",
		},
		rows: rows,
	}
	if size {
		l.columns = append(l.columns, column{"Size", "SIZE"})
		delete(l.more, "Size")
	}
	return l
}

// list returns the containers to be shown.
func (f *psFlags) list(ctx context.Context, m *machine, keys filters) ([]row, error) {
	if err := m.containers().Sweep(); err != nil {
		return nil, err
	}
	all, err := m.containers().List()
	if err != nil {
		return nil, err
	}
	keep, err := m.containerFilter(ctx, keys)
	if err != nil {
		return nil, err
	}
	names, err := m.store.Names()
	if err != nil {
		return nil, err
	}
	last := f.last
	if f.latest {
		last = 1
	}
	every := f.all || last >= 0 || keys["status"] != nil || keys["exited"] != nil
	rows := []row{}
	for _, c := range all {
		if !keep(c) || c.Status != container.Running && !every {
			continue
		}
		if last >= 0 && len(rows) == last {
			break
		}
		r := f.row(c, names)
		if f.size || strings.Contains(f.format, ".Size") {
			if r["Size"], err = m.sizeText(ctx, c); err != nil {
				return nil, err
			}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (f *psFlags) row(c *container.Container, names []store.Name) row {
	var mounts []string
	volumes := 0
	for _, v := range c.Mounts {
		name := v.Source
		if v.Volume != "" {
			name = v.Volume
			volumes++
		}
		mounts = append(mounts, shorten(name, 15, f.noTrunc))
	}
	id := c.ShortID()
	if f.noTrunc {
		id = c.ID
	}
	r := row{
		"ID": id, "Image": imageName(c, names), "Command": strconv.Quote(shorten(strings.Join(c.Command, " "), 20, f.noTrunc)),
		"CreatedAt": c.Created.Local().Format("2006-01-02 15:04:05 -0700 MST"), "RunningFor": ago(c.Created),
		"State": string(c.Status), "Status": statusText(c), "Ports": portsText(c), "Names": c.Name, "Size": "",
		"Mounts": strings.Join(mounts, ","), "Networks": c.NetworkMode(), "LocalVolumes": strconv.Itoa(volumes),
	}
	r.setLabels(c.Run.Labels)
	return r
}

// sizeText is what the container has changed, and that with what its image has.
func (m *machine) sizeText(ctx context.Context, c *container.Container) (string, error) {
	i, err := m.inspectContainer(ctx, c, true)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s (virtual %s)", byteCount(*i.SizeRw), byteCount(*i.SizeRootFs)), nil
}

func shorten(s string, length int, not bool) string {
	if r := []rune(s); !not && len(r) > length {
		return string(r[:length-1]) + "…"
	}
	return s
}

// imageName is what the container's image was called, if it still is.
func imageName(c *container.Container, names []store.Name) string {
	short := c.Image.Encoded()
	if len(short) > 12 {
		short = short[:12]
	}
	ref, err := image.ParseReference(c.ImageName)
	if err != nil || ref.Digest() != "" {
		return or(c.ImageName, short)
	}
	for _, n := range names {
		if n.ID == c.Image && n.Reference == ref {
			return c.ImageName
		}
	}
	return short
}

// or is the first string unless it is empty.
func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// statusText says what became of a container, as docker does.
func statusText(c *container.Container) string {
	switch c.Status {
	case container.Running:
		return "Up " + strings.TrimSuffix(ago(c.Started), " ago")
	case container.Exited:
		return fmt.Sprintf("Exited (%d) %s", c.ExitCode, ago(c.Finished))
	case container.Dead:
		return "Dead"
	}
	return "Created"
}

// containerFilter returns which containers fit the filters: of the values of one
// key any, but of labels all.
func (m *machine) containerFilter(ctx context.Context, keys filters) (func(*container.Container) bool, error) {
	var tests []func(*container.Container) bool
	for _, key := range psFilters {
		if key == "label" || keys[key] == nil {
			continue
		}
		var anyOf []func(*container.Container) bool
		for _, value := range keys[key] {
			test, err := m.containerTest(ctx, key, value)
			if err != nil {
				return nil, err
			}
			anyOf = append(anyOf, test)
		}
		tests = append(tests, func(c *container.Container) bool {
			return slices.ContainsFunc(anyOf, func(test func(*container.Container) bool) bool { return test(c) })
		})
	}
	return func(c *container.Container) bool {
		fails := func(test func(*container.Container) bool) bool { return !test(c) }
		return keys.labelsFit("label", c.Run.Labels) && !slices.ContainsFunc(tests, fails)
	}, nil
}

func (m *machine) containerTest(ctx context.Context, key, value string) (func(*container.Container) bool, error) {
	switch key {
	case "id":
		return func(c *container.Container) bool { return strings.HasPrefix(c.ID, value) }, nil
	case "name":
		return func(c *container.Container) bool { return strings.Contains(c.Name, strings.TrimPrefix(value, "/")) }, nil
	case "status":
		known := []string{"created", "running", "exited", "dead", "restarting", "removing", "paused"}
		if !slices.Contains(known, value) {
			return nil, usage("--filter: status %q is none of %s", value, strings.Join(known, ", "))
		}
		return func(c *container.Container) bool { return string(c.Status) == value }, nil
	case "exited":
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, usage("--filter: exited=%s is no number", value)
		}
		return func(c *container.Container) bool { return c.Status == container.Exited && c.ExitCode == n }, nil
	case "network":
		return func(c *container.Container) bool { return c.NetworkMode() == value }, nil
	case "volume":
		return func(c *container.Container) bool {
			return slices.ContainsFunc(c.Mounts, func(m container.Mount) bool { return m.Target == value || m.Volume != "" && m.Volume == value })
		}, nil
	case "publish", "expose":
		return portTest(key, value)
	case "ancestor":
		return m.ancestor(ctx, value)
	}
	other, err := m.containers().Find(value)
	if err != nil {
		return nil, err
	}
	if key == "before" {
		return func(c *container.Container) bool { return c.Created.Before(other.Created) }, nil
	}
	return func(c *container.Container) bool { return c.Created.After(other.Created) }, nil
}

// portTest keeps the containers that publish, or name, one of some ports.
func portTest(key, value string) (func(*container.Container) bool, error) {
	ports, err := parser.ParsePort(value)
	if err != nil || strings.Contains(value, ":") {
		return nil, usage("--filter: %s=%s is no port", key, value).WithHint(parser.PortHint)
	}
	if key == "expose" {
		return func(c *container.Container) bool {
			return slices.ContainsFunc(ports, func(p string) bool { _, ok := c.Run.ExposedPorts[p]; return ok })
		}, nil
	}
	return func(c *container.Container) bool {
		return slices.ContainsFunc(c.Ports, func(p container.Port) bool { return slices.Contains(ports, p.Name()) })
	}, nil
}

// ancestor keeps the containers whose image is, or begins with the layers of, an
// image.
func (m *machine) ancestor(ctx context.Context, name string) (func(*container.Container) bool, error) {
	found, err := m.store.Find(ctx, name, image.Platform{})
	if err != nil {
		return nil, err
	}
	return func(c *container.Container) bool {
		if c.Image == found.ID {
			return true
		}
		below := found.Layers
		return len(below) > 0 && len(below) <= len(c.Layers) && slices.EqualFunc(below, c.Layers[:len(below)], func(a, b image.Layer) bool { return a.DiffID == b.DiffID })
	}, nil
}
