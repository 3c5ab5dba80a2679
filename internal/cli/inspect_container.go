package cli

import (
	"context"
	"slices"
	"strconv"
	"time"

	"builder/executor/network"
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
	// NetworkSettings are those of a container that runs.
	NetworkSettings inspectedNetwork
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
	NetworkMode                          string
	AutoRemove                           bool
	Memory, MemorySwap                   int64
	CpuShares, CpuPeriod                 uint64 //nolint:revive,staticcheck // docker's names, which templates use
	CpuQuota                             int64  //nolint:revive,staticcheck // likewise
	CpusetCpus, CpusetMems, CgroupParent string
	Privileged, ReadonlyRootfs           bool
	CapAdd, CapDrop, SecurityOpt         []string
	ExtraHosts, GroupAdd                 []string
	Dns, DnsSearch, DnsOptions           []string //nolint:revive,staticcheck // likewise
	ShmSize                              int64
	Ulimits                              []inspectedUlimit
	PortBindings                         map[string][]inspectedBinding
	Annotations                          map[string]string `json:",omitempty"`
}

type inspectedNetwork struct {
	Ports              map[string][]inspectedBinding
	IPAddress, Gateway string
}

type inspectedBinding struct{ HostIp, HostPort string } //nolint:revive,staticcheck // docker's names

type inspectedUlimit struct {
	Name       string
	Soft, Hard int64
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
		HostConfig: inspectHost(c),
		Config: inspectedConfig{
			RunConfig: c.Run, Hostname: c.Hostname, Image: c.ImageName, Tty: c.Terminal, OpenStdin: c.Interactive, StopTimeout: c.StopTimeout,
		},
	}
	if len(c.Command) > 0 {
		i.Path, i.Args = c.Command[0], slices.Clone(c.Command[1:])
	}
	i.NetworkSettings.Ports = map[string][]inspectedBinding{}
	if c.NetworkMode() == container.NetworkBridge && c.Status == container.Running {
		i.NetworkSettings = inspectedNetwork{Ports: bindings(c.Published), IPAddress: network.Address, Gateway: network.Gateway}
		for name := range c.Run.ExposedPorts {
			if _, ok := i.NetworkSettings.Ports[name]; !ok {
				i.NetworkSettings.Ports[name] = nil
			}
		}
	}
	for _, m := range c.Mounts {
		kind := "bind"
		switch {
		case m.Volume != "":
			kind = "volume"
		case m.Memory != nil:
			kind = "tmpfs"
		}
		i.Mounts = append(i.Mounts, inspectedMount{Type: kind, Name: m.Volume, Source: m.Source, Destination: m.Target, RW: !m.ReadOnly})
	}
	return i
}

// inspectHost is what a container may take and do.
func inspectHost(c *container.Container) inspectedHost {
	h := inspectedHost{
		NetworkMode: c.NetworkMode(), AutoRemove: c.AutoRemove, PortBindings: bindings(c.Ports),
		Memory: c.Limits.Memory, MemorySwap: c.Limits.MemorySwap, CpuShares: c.Limits.CPUShares, CpuPeriod: c.Limits.CPUPeriod, CpuQuota: c.Limits.CPUQuota,
		CpusetCpus: c.Limits.CpusetCPUs, CpusetMems: c.Limits.CpusetMems, CgroupParent: c.Limits.Parent,
		Privileged: c.Privileged, ReadonlyRootfs: c.ReadOnly, CapAdd: c.Capabilities.Add, CapDrop: c.Capabilities.Drop,
		GroupAdd: c.Groups, Dns: c.DNS.Servers, DnsSearch: c.DNS.Search, DnsOptions: c.DNS.Options, ShmSize: c.ShmSize,
		Annotations: c.Annotations,
	}
	if h.ShmSize == 0 {
		h.ShmSize = 64 << 20
	}
	if c.Unfiltered {
		h.SecurityOpt = append(h.SecurityOpt, "seccomp=unconfined")
	}
	if c.NoNewPrivileges {
		h.SecurityOpt = append(h.SecurityOpt, "no-new-privileges")
	}
	for _, host := range c.Hosts {
		h.ExtraHosts = append(h.ExtraHosts, host.Name+":"+host.IP)
	}
	for _, l := range c.Rlimits {
		h.Ulimits = append(h.Ulimits, inspectedUlimit(l))
	}
	return h
}

// bindings are ports by the names that images have for them.
func bindings(ports []container.Port) map[string][]inspectedBinding {
	m := map[string][]inspectedBinding{}
	for _, p := range ports {
		b := inspectedBinding{HostIp: p.IP}
		if p.Host != 0 {
			b.HostPort = strconv.Itoa(int(p.Host))
		}
		m[p.Name()] = append(m[p.Name()], b)
	}
	return m
}
