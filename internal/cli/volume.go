package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"builder/internal/container"
	"builder/internal/depot"
)

// localDriver is the only driver of volumes: directories of this machine.
const localDriver = "local"

// newVolumeGroup is "builder volume".
func newVolumeGroup(g *globals) *cobra.Command {
	return group("volume", "Manage volumes", "  builder volume ls",
		newVolumeCreate(g), newVolumeInspect(g), newVolumeList(g), newVolumePrune(g), newVolumeRemove(g))
}

func newVolumeCreate(g *globals) *cobra.Command {
	var driver string
	var words, options []string
	cmd := &cobra.Command{
		Use:     "create [OPTIONS] [VOLUME]",
		Short:   "Make a volume, empty until a container has it",
		Example: "  builder volume create --label team=web cache",
		Args:    between(0, 1, "at most one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkDriver(driver, options); err != nil {
				return err
			}
			labels, err := pairs("--label", words, func(string) (string, bool) { return "", true })
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				v, err := m.containers().CreateVolume(strings.Join(args, ""), labels)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(g.out, v.Name)
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&driver, "driver", "d", localDriver, "driver of the volume: only local is known")
	cmd.Flags().StringArrayVar(&words, "label", nil, "note something of the volume, as NAME=VALUE")
	cmd.Flags().StringArrayVarP(&options, "opt", "o", nil, "options of the driver: local has none")
	return cmd
}

// checkDriver refuses volumes that are no directories of this machine.
func checkDriver(driver string, options []string) error {
	if driver != localDriver && driver != "" {
		return usage("--driver: there is no driver %q", driver).WithHint("volumes are directories of this machine: %s", localDriver)
	}
	if len(options) > 0 {
		return usage("--opt: a volume has no option %q: nothing is mounted for it", options[0]).
			WithHint("-v DIRECTORY:TARGET shows a container what is mounted on this machine")
	}
	return nil
}

// volumeFilters are the keys that volume ls --filter takes.
var volumeFilters = []string{"dangling", "driver", "label", "name"}

func newVolumeList(g *globals) *cobra.Command {
	var quiet bool
	var format string
	var words []string
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List volumes",
		Example: "  builder volume ls --filter dangling=true",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quiet && format == "" {
				format = "{{.Name}}"
			}
			show, err := printer(format)
			if err != nil {
				return err
			}
			keys, err := parseFilters(words, volumeFilters...)
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				if err := m.containers().SweepVolumes(); err != nil {
					return err
				}
				fits, err := m.volumeFilter(keys)
				if err != nil {
					return err
				}
				all, err := m.containers().ListVolumes()
				if err != nil {
					return err
				}
				l := listing{columns: []column{{"Driver", "DRIVER"}, {"Name", "VOLUME NAME"}}, more: volumeHeads}
				for _, v := range all {
					if fits(v) {
						l.rows = append(l.rows, volumeRow(v))
					}
				}
				return show(g.out, l)
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&quiet, "quiet", "q", false, "show names only")
	fl.StringVar(&format, "format", "", "table, json, a Go template, or table and a template")
	fl.StringArrayVarP(&words, "filter", "f", nil, "show what fits, as KEY=VALUE: "+strings.Join(volumeFilters, ", "))
	return cmd
}

// volumeHeads are docker's fields of volumes that its table does not show.
var volumeHeads = map[string]string{
	"Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Links": "LINKS", "Size": "SIZE",
	"Group": "GROUP", "Availability": "AVAILABILITY", "Status": "STATUS",
}

// volumeRow has docker's fields. Links and sizes are what system df knows; the
// rest is of volumes that several machines share.
func volumeRow(v *container.KeptVolume) row {
	r := row{
		"Name": v.Name, "Driver": localDriver, "Scope": "local", "Mountpoint": v.Dir,
		"Links": "N/A", "Size": "N/A", "Group": "N/A", "Availability": "N/A", "Status": "N/A",
	}
	r.setLabels(v.Labels)
	return r
}

// volumeFilter returns which volumes fit: of the values of one key any, but of
// labels all.
func (m *machine) volumeFilter(keys filters) (func(*container.KeptVolume) bool, error) {
	dangling, ask, err := keys.claim("dangling")
	if err != nil {
		return nil, err
	}
	users, err := m.containers().VolumeUsers()
	if err != nil {
		return nil, err
	}
	return func(v *container.KeptVolume) bool {
		named := len(keys["name"]) == 0 || slices.ContainsFunc(keys["name"], func(part string) bool { return strings.Contains(v.Name, part) })
		driven := len(keys["driver"]) == 0 || slices.Contains(keys["driver"], localDriver)
		return named && driven && keys.labelled(v.Labels) && (!ask || dangling == (len(users[v.Name]) == 0))
	}, nil
}

// inspectedVolume is a volume under docker's field names.
type inspectedVolume struct {
	CreatedAt  string
	Driver     string
	Labels     map[string]string
	Mountpoint string
	Name       string
	Options    map[string]string
	Scope      string
}

func inspectVolume(v *container.KeptVolume) inspectedVolume {
	return inspectedVolume{
		CreatedAt: v.Created.Local().Format("2006-01-02T15:04:05Z07:00"), Driver: localDriver, Labels: v.Labels,
		Mountpoint: v.Dir, Name: v.Name, Scope: "local",
	}
}

func newVolumeInspect(g *globals) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "inspect [OPTIONS] VOLUME [VOLUME...]",
		Short:   "Show what is known of volumes",
		Example: "  builder volume inspect -f '{{.Mountpoint}}' cache",
		Args:    between(1, -1, "at least one volume"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.inspectEach(cmd, args, format, func(_ context.Context, m *machine, name string) (any, error) {
				v, err := m.containers().FindVolume(name)
				if err != nil {
					return nil, err
				}
				return inspectVolume(v), nil
			})
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

func newVolumeRemove(g *globals) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "rm [OPTIONS] VOLUME [VOLUME...]",
		Aliases: []string{"remove"},
		Short:   "Remove volumes that no container has",
		Example: "  builder volume rm cache",
		Args:    between(1, -1, "at least one volume"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				var errs []error
				for _, name := range args {
					err := m.containers().RemoveVolume(name, m.lease.Trash)
					if err != nil && !(force && errors.As(err, new(*container.NoVolumeError))) {
						errs = append(errs, err)
						continue
					}
					fmt.Fprintln(g.out, name)
				}
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "a volume that is not there is no error")
	return cmd
}

func newVolumePrune(g *globals) *cobra.Command {
	var force, all bool
	var words []string
	cmd := &cobra.Command{
		Use:     "prune [OPTIONS]",
		Short:   "Remove anonymous volumes that no container has",
		Example: "  builder volume prune --all --filter label=team=web",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := parseFilters(words, "all", "label", "label!")
			if err != nil {
				return err
			}
			if every, set, err := keys.claim("all"); err != nil || set {
				if err != nil {
					return err
				}
				if all {
					return usage("conflicting options: cannot specify both --all and --filter all=%s", strconv.FormatBool(every))
				}
				all = every
			}
			what := " anonymous local volumes not used by at least one container."
			if all {
				what = " all local volumes not used by at least one container."
			}
			if yes, err := g.confirm(force, what); err != nil || !yes {
				return err
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				names, freed, err := m.pruneVolumes(ctx, keys, all)
				g.printPruned("Deleted Volumes:", names)
				fmt.Fprintf(g.out, "Total reclaimed space: %s\n", byteCount(freed))
				return err
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&all, "all", "a", false, "remove volumes with names, too")
	fl.BoolVarP(&force, "force", "f", false, "do not ask")
	fl.StringArrayVar(&words, "filter", nil, "remove what fits: label=NAME[=VALUE], label!=NAME[=VALUE], all=true")
	return cmd
}

// pruneVolumes removes anonymous volumes that no container has, or all such.
func (m *machine) pruneVolumes(ctx context.Context, keys filters, all bool) (names []string, freed int64, err error) {
	volumes, err := m.containers().ListVolumes()
	if err != nil {
		return nil, 0, err
	}
	users, err := m.containers().VolumeUsers()
	if err != nil {
		return nil, 0, err
	}
	for _, v := range volumes {
		if len(users[v.Name]) > 0 || !all && !v.Anonymous() || !keys.labelled(v.Labels) {
			continue
		}
		size, err := depot.TreeSize(ctx, v.Dir)
		if err != nil {
			return names, freed, err
		}
		err = m.containers().RemoveVolume(v.Name, m.lease.Trash)
		if errors.As(err, new(*container.VolumeInUseError)) || errors.As(err, new(*container.NoVolumeError)) {
			continue
		}
		if err != nil {
			return names, freed, err
		}
		names, freed = append(names, v.Name), freed+size
	}
	return names, freed, nil
}

// labelled reports whether labels have all that label= wants, and nothing of what
// label!= does not want.
func (f filters) labelled(labels map[string]string) bool {
	return f.labelsFit("label", labels) && !slices.ContainsFunc(f["label!"], func(unwanted string) bool {
		return filters{"label": {unwanted}}.labelsFit("label", labels)
	})
}
