package cli

import (
	"context"
	"slices"
	"time"

	"builder/image"
	"builder/internal/container"
	"builder/internal/depot"
)

// inspectedContainer is a container under docker's field names.
type inspectedContainer struct {
	Id         string //nolint:revive,staticcheck // docker's name, which templates use
	Created    time.Time
	Path       string
	Args       []string
	State      inspectedState
	Image      image.Digest
	LogPath    string
	Name       string
	HostConfig inspectedHost
	Mounts     []inspectedMount
	Config     inspectedConfig
	// With --size: what the container changed, and that with what its image has.
	SizeRw, SizeRootFs *int64 `json:",omitempty"`
}

type inspectedState struct {
	Status                string
	Running, Dead         bool
	Pid, ExitCode         int
	Error                 string
	StartedAt, FinishedAt time.Time
}

type inspectedHost struct {
	NetworkMode string
	AutoRemove  bool
}

type inspectedMount struct {
	Type, Name, Source, Destination string
	RW                              bool
}

// inspectedConfig is an image's config with what the container adds.
type inspectedConfig struct {
	image.RunConfig
	Hostname       string
	Image          string
	Tty, OpenStdin bool
	StopTimeout    int
}

// inspectContainer collects what is known of a container; with size, what its
// files take, too.
func (m *machine) inspectContainer(ctx context.Context, c *container.Container, size bool) (inspectedContainer, error) {
	i := inspectContainer(c)
	if !size {
		return i, nil
	}
	changed, err := depot.TreeSize(ctx, m.path("containers", c.ID, "tree"))
	if err != nil {
		return i, err
	}
	whole, known := changed, m.sizes()
	for _, l := range c.Layers {
		whole += known.layer(l)
	}
	i.SizeRw, i.SizeRootFs = &changed, &whole
	return i, nil
}

func inspectContainer(c *container.Container) inspectedContainer {
	i := inspectedContainer{
		Id: c.ID, Created: c.Created, Args: []string{}, Image: c.Image, LogPath: c.LogPath(), Name: "/" + c.Name, Mounts: []inspectedMount{},
		State: inspectedState{
			Status: string(c.Status), Running: c.Status == container.Running, Dead: c.Status == container.Dead, Pid: c.Pid,
			ExitCode: c.ExitCode, Error: c.Error, StartedAt: c.Started, FinishedAt: c.Finished,
		},
		HostConfig: inspectedHost{NetworkMode: "host", AutoRemove: c.AutoRemove},
		Config: inspectedConfig{
			RunConfig: c.Run, Hostname: c.Hostname, Image: c.ImageName, Tty: c.Terminal, OpenStdin: c.Interactive, StopTimeout: c.StopTimeout,
		},
	}
	if len(c.Command) > 0 {
		i.Path, i.Args = c.Command[0], slices.Clone(c.Command[1:])
	}
	for _, m := range c.Mounts {
		kind := "bind"
		if m.Volume != "" {
			kind = "volume"
		}
		i.Mounts = append(i.Mounts, inspectedMount{Type: kind, Name: m.Volume, Source: m.Source, Destination: m.Target, RW: !m.ReadOnly})
	}
	return i
}
