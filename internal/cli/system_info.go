package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"builder/image"
	"builder/image/registry"
	"builder/internal/container"
)

// inspectedSystem is what info knows, under docker's field names. There is no
// daemon: what docker has of client and server is here of one program.
type inspectedSystem struct {
	Containers, ContainersRunning, ContainersPaused, ContainersStopped, Images int

	Driver             string
	LoggingDriver      string
	CgroupDriver       string
	CgroupVersion      string
	Swarm              inspectedSwarm
	KernelVersion      string
	OperatingSystem    string
	OSVersion          string
	OSType             string
	Architecture       string
	NCPU               int
	MemTotal           int64
	Name               string
	DockerRootDir      string
	SystemTime         string
	SecurityOptions    []string
	RegistryConfig     inspectedRegistries
	IndexServerAddress string
	HTTPProxy          string `json:"HttpProxy"`
	HTTPSProxy         string `json:"HttpsProxy"`
	NoProxy            string
	Debug              bool
	ServerVersion      string
	Warnings           []string
	ClientInfo         inspectedClient
}

// inspectedSwarm is what scripts ask before they use a cluster: there is none.
type inspectedSwarm struct {
	LocalNodeState   string
	ControlAvailable bool
}

type inspectedRegistries struct {
	IndexConfigs map[string]inspectedIndex
	Mirrors      []string
}

// inspectedIndex is what builder.toml says of a registry.
type inspectedIndex struct {
	Name             string
	Mirrors          []string
	Secure, Official bool
}

func newSystemInfo(g *globals) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "info [OPTIONS]",
		Short:   "Show what is here, and what this machine and its settings are",
		Example: "  builder info -f '{{.Driver}} {{.DockerRootDir}}'",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			show, err := structPrinter(format, printSystem)
			if err != nil {
				return err
			}
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				i, err := m.inspectSystem()
				if err != nil {
					return err
				}
				return show(g.out, i)
			})
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

// structPrinter returns how one thing is shown: for people, as JSON or by a
// template.
func structPrinter[T any](format string, plain func(io.Writer, T) error) (func(io.Writer, T) error, error) {
	switch format {
	case "":
		return plain, nil
	case "json":
		format = "{{json .}}"
	}
	t, err := parseTemplate(unescape(format))
	if err != nil {
		return nil, err
	}
	return func(w io.Writer, v T) error {
		if err := t.Execute(w, v); err != nil {
			return usage("--format: %v", err)
		}
		_, err := fmt.Fprintln(w)
		return err
	}, nil
}

// inspectSystem collects what is known of the store and the machine.
func (m *machine) inspectSystem() (i inspectedSystem, err error) {
	i = inspectedSystem{
		LoggingDriver: "json-file", CgroupDriver: "cgroupfs", CgroupVersion: "1", Swarm: inspectedSwarm{LocalNodeState: "inactive"}, OSType: runtime.GOOS, NCPU: runtime.NumCPU(), DockerRootDir: m.dir,
		SystemTime: time.Now().Format(time.RFC3339Nano), SecurityOptions: []string{"name=seccomp,profile=builtin"},
		IndexServerAddress: "https://index.docker.io/v1/", HTTPProxy: proxyOf("HTTP_PROXY"), HTTPSProxy: proxyOf("HTTPS_PROXY"), NoProxy: proxyOf("NO_PROXY"),
		ServerVersion: version(), Warnings: []string{}, ClientInfo: ownVersion(),
	}
	if os.Getenv(insideEnv) != "" {
		i.SecurityOptions = append(i.SecurityOptions, "name=rootless")
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		i.CgroupVersion = "2"
	}
	if i.Driver, err = m.snapshotKind(); err != nil {
		return i, err
	}
	if err := i.host(); err != nil {
		return i, err
	}
	if err := i.registries(); err != nil {
		return i, err
	}
	records, err := m.store.Records()
	if err != nil {
		return i, err
	}
	containers, err := m.containers().List()
	if err != nil {
		return i, err
	}
	i.Images, i.Containers = len(records), len(containers)
	for _, c := range containers {
		if c.Status == container.Running {
			i.ContainersRunning++
		}
	}
	i.ContainersStopped = i.Containers - i.ContainersRunning
	return i, nil
}

// proxyOf reads a proxy's variable, in capitals or not, without a password.
func proxyOf(name string) string {
	value := or(os.Getenv(name), os.Getenv(strings.ToLower(name)))
	scheme, rest, ok := strings.Cut(value, "://")
	if at := strings.LastIndex(rest, "@"); ok && at >= 0 {
		return scheme + "://xxxxx:xxxxx" + rest[at:]
	}
	return value
}

// host asks the kernel and /etc/os-release.
func (i *inspectedSystem) host() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	i.Name, i.KernelVersion = unix.ByteSliceToString(name.Nodename[:]), unix.ByteSliceToString(name.Release[:])
	i.Architecture = unix.ByteSliceToString(name.Machine[:])
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err != nil {
		return fmt.Errorf("sysinfo: %w", err)
	}
	i.MemTotal = int64(memory.Totalram) * int64(memory.Unit)
	release, err := readSmall("/etc/os-release", 64<<10)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(release)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		switch key {
		case "PRETTY_NAME":
			i.OperatingSystem = value
		case "VERSION_ID":
			i.OSVersion = value
		}
	}
	return nil
}

// registries reads what builder.toml says of registries.
func (i *inspectedSystem) registries() error {
	config, err := registry.ReadConfig(os.Getenv)
	if err != nil {
		return err
	}
	i.RegistryConfig = inspectedRegistries{IndexConfigs: map[string]inspectedIndex{}, Mirrors: []string{}}
	for host, s := range config.Registry {
		index := inspectedIndex{Name: host, Mirrors: s.Mirrors, Official: host == image.DefaultDomain}
		index.Secure = (s.HTTP == nil || !*s.HTTP) && (s.Insecure == nil || !*s.Insecure)
		i.RegistryConfig.IndexConfigs[host] = index
	}
	i.RegistryConfig.Mirrors = append(i.RegistryConfig.Mirrors, config.Registry[image.DefaultDomain].Mirrors...)
	return nil
}

// printSystem writes it for people, in docker's lines.
func printSystem(w io.Writer, i inspectedSystem) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Client:\n Version:    %s\n\nServer:\n", i.ClientInfo.Version)
	fmt.Fprintf(&b, " Containers: %d\n  Running: %d\n  Paused: %d\n  Stopped: %d\n Images: %d\n", i.Containers, i.ContainersRunning, i.ContainersPaused, i.ContainersStopped, i.Images)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s: %s\n", name, harmless(value))
		}
	}
	line("Server Version", i.ServerVersion)
	line("Storage Driver", i.Driver)
	line("Logging Driver", i.LoggingDriver)
	line("Cgroup Driver", i.CgroupDriver)
	line("Cgroup Version", i.CgroupVersion)
	line("Swarm", i.Swarm.LocalNodeState)
	b.WriteString(" Security Options:\n")
	for _, o := range i.SecurityOptions {
		name, profile, ok := strings.Cut(strings.TrimPrefix(o, "name="), ",profile=")
		fmt.Fprintf(&b, "  %s\n", name)
		if ok {
			fmt.Fprintf(&b, "   Profile: %s\n", profile)
		}
	}
	line("Kernel Version", i.KernelVersion)
	line("Operating System", i.OperatingSystem)
	line("OSType", i.OSType)
	line("Architecture", i.Architecture)
	line("CPUs", strconv.Itoa(i.NCPU))
	line("Total Memory", binarySize(i.MemTotal))
	line("Name", i.Name)
	line("Docker Root Dir", i.DockerRootDir)
	line("HTTP Proxy", i.HTTPProxy)
	line("HTTPS Proxy", i.HTTPSProxy)
	line("No Proxy", i.NoProxy)
	list := func(head string, values []string) {
		if len(values) > 0 {
			fmt.Fprintf(&b, " %s:\n  %s\n", head, harmless(strings.Join(values, "\n  ")))
		}
	}
	var insecure []string
	for _, host := range slices.Sorted(maps.Keys(i.RegistryConfig.IndexConfigs)) {
		if !i.RegistryConfig.IndexConfigs[host].Secure {
			insecure = append(insecure, host)
		}
	}
	list("Insecure Registries", insecure)
	list("Registry Mirrors", i.RegistryConfig.Mirrors)
	_, err := io.WriteString(w, b.String())
	return err
}

// binarySize writes a size in units of 1024, as docker does of memory.
func binarySize(n int64) string {
	value, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for len(units) > 1 && value >= 1024 {
		value, units = value/1024, units[1:]
	}
	return fmt.Sprintf("%.4g%s", value, units[0])
}
