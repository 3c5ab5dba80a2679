package cli

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"builder/executor/sandbox"
	"builder/internal/container"
	"builder/planner"
)

// surroundFlags are the flags of run and create that say what a container sees
// beside its files, what it may take and what it may do, as they were typed.
type surroundFlags struct {
	limits                        limitFlags
	ulimits, hosts                []string
	capAdd, capDrop, security     []string
	devices, groups, annotations  []string
	dns, dnsSearch, dnsOptions    []string
	shmSize                       string
	privileged, readOnly, reaping bool
	noHealthcheck                 bool
	pids                          int64
	domainname                    string
}

func (f *surroundFlags) add(fl *pflag.FlagSet) {
	f.limits.add(fl, "a container", "the container's processes")
	fl.Int64Var(&f.pids, "pids-limit", 0, "how many processes and threads there may be, those of the reaper in front included; -1 is no bound")
	fl.StringVar(&f.domainname, "domainname", "", "domain that the container is in")
	fl.StringArrayVar(&f.ulimits, "ulimit", nil, "limit of the command, as NAME=SOFT[:HARD]")
	fl.StringVar(&f.shmSize, "shm-size", "", "size of /dev/shm, such as 128m")
	fl.StringArrayVar(&f.hosts, "add-host", nil, "line for /etc/hosts, as NAME:IP or NAME:host-gateway")
	fl.StringSliceVar(&f.capAdd, "cap-add", nil, "capability that the command has besides, or ALL")
	fl.StringSliceVar(&f.capDrop, "cap-drop", nil, "capability that the command has not, or ALL")
	fl.StringArrayVar(&f.security, "security-opt", nil, "seccomp=unconfined or no-new-privileges")
	fl.BoolVar(&f.privileged, "privileged", false, "keep the command from nothing that root may do, and show it all devices")
	fl.StringArrayVar(&f.devices, "device", nil, "device of the host, as SOURCE[:TARGET[:rwm]], or by its CDI name")
	fl.StringSliceVar(&f.groups, "group-add", nil, "group that the user has besides, by name or number")
	fl.BoolVar(&f.readOnly, "read-only", false, "let the container's root be read, but not written")
	fl.StringArrayVar(&f.annotations, "annotation", nil, "note something of the container, as NAME=VALUE")
	fl.StringArrayVar(&f.dns, "dns", nil, "server that resolves names")
	fl.StringArrayVar(&f.dnsSearch, "dns-search", nil, "domain in which names are looked for; . is none")
	fl.StringArrayVar(&f.dnsOptions, "dns-option", nil, "option of the resolver")
	fl.StringArrayVar(&f.dnsOptions, "dns-opt", nil, "option of the resolver")
	fl.Lookup("dns-opt").Hidden = true
	fl.BoolVar(&f.reaping, "init", true, "have the first process pass signals on and collect orphans, as is always done")
	fl.BoolVar(&f.noHealthcheck, "no-healthcheck", false, "check nobody's health, as is never done")
}

// parse reads the flags.
func (f *surroundFlags) parse() (s container.Surroundings, err error) {
	limits, err := f.limits.parse()
	if err != nil {
		return s, err
	}
	s.Limits = sandbox.Limits{
		Memory: limits.Memory, MemorySwap: limits.MemorySwap, CPUShares: limits.CPUShares, CPUPeriod: limits.CPUPeriod, CPUQuota: limits.CPUQuota,
		CpusetCPUs: limits.CpusetCPUs, CpusetMems: limits.CpusetMems, Parent: limits.Parent,
	}
	switch {
	case f.pids > 0 && f.pids < 16:
		return s, usage("--pids-limit: %d is less than the 16 that a container's own first process may need", f.pids)
	case f.pids > 0:
		s.Limits.Pids = f.pids
	case f.pids < -1:
		return s, usage("--pids-limit: %d is no number of processes", f.pids).WithHint("-1 is no bound")
	}
	if s.Domainname = f.domainname; s.Domainname != "" {
		if err := checkHostname(s.Domainname); err != nil {
			return s, usage("--domainname: %q is no name of a domain", s.Domainname)
		}
	}
	for _, text := range f.ulimits {
		u, err := parseUlimit(text)
		if err != nil {
			return s, err
		}
		s.Rlimits = append(s.Rlimits, sandbox.Rlimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	if f.shmSize != "" {
		if s.ShmSize, err = parseBytes("--shm-size", f.shmSize); err != nil {
			return s, err
		}
	}
	for _, text := range f.hosts {
		h, err := parseHost(text)
		if err != nil {
			return s, err
		}
		s.Hosts = append(s.Hosts, sandbox.Host{Name: h.Name, IP: h.IP})
	}
	if s.Capabilities.Add, err = parseCapabilities("--cap-add", f.capAdd); err != nil {
		return s, err
	}
	if s.Capabilities.Drop, err = parseCapabilities("--cap-drop", f.capDrop); err != nil {
		return s, err
	}
	if err := parseSecurity(&s, f.security); err != nil {
		return s, err
	}
	if !f.reaping {
		return s, usage("--init=false: the first process of a container always passes signals on and collects orphans")
	}
	s.Privileged, s.ReadOnly, s.Groups = f.privileged, f.readOnly, f.groups
	annotations, err := pairs("--annotation", f.annotations, func(string) (string, bool) { return "", true })
	if err != nil {
		return s, err
	}
	if len(annotations) > 0 {
		s.Annotations = annotations
	}
	s.DNS, err = f.resolver()
	return s, err
}

// resolver reads the flags about names.
func (f *surroundFlags) resolver() (d sandbox.DNS, err error) {
	for _, text := range f.dns {
		if _, err := netip.ParseAddr(text); err != nil {
			return d, usage("--dns: %q is not an address", text).WithHint("write --dns 192.0.2.53")
		}
	}
	for _, list := range [][]string{f.dnsSearch, f.dnsOptions} {
		for _, word := range list {
			if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				return d, usage("--dns-search, --dns-option: %q is no word of resolv.conf", word)
			}
		}
	}
	return sandbox.DNS{Servers: f.dns, Search: f.dnsSearch, Options: f.dnsOptions}, nil
}

func parseCapabilities(flag string, words []string) ([]string, error) {
	var list []string
	for _, word := range words {
		name, ok := sandbox.ParseCapability(word)
		if !ok {
			return nil, usage("%s: unknown capability %q", flag, word).WithHint("capabilities(7) lists them; write %s NET_ADMIN", flag)
		}
		list = append(list, name)
	}
	return list, nil
}

// parseSecurity reads --security-opt.
func parseSecurity(s *container.Surroundings, words []string) error {
	for _, word := range words {
		name, value, _ := strings.Cut(strings.Replace(word, ":", "=", 1), "=")
		switch {
		case word == "seccomp=unconfined", word == "seccomp:unconfined":
			s.Unfiltered = true
		case name == "seccomp" && value == "builtin":
			s.Unfiltered = false
		case name == "seccomp":
			return usage("--security-opt: a filter of one's own, %q, is not there yet", value).WithHint("seccomp=unconfined leaves the filter out")
		case name == "no-new-privileges":
			on, err := strconv.ParseBool(orTrue(value))
			if err != nil {
				return usage("--security-opt: no-new-privileges is true or false, not %q", value)
			}
			s.NoNewPrivileges = on
		case name == "apparmor" && value == "unconfined", name == "label" && value == "disable":
			// No container is confined by either.
		case name == "apparmor" || name == "label":
			return usage("--security-opt: %s does not confine containers here", name).WithHint("leave %s out", word)
		default:
			return usage("--security-opt: %q is not there", word).WithHint("seccomp=unconfined and no-new-privileges are")
		}
	}
	return nil
}

func orTrue(s string) string { return or(s, "true") }

// parseDevices reads --device: names by the Container Device Interface, and paths of /dev. What the
// former bring beside nodes is added to the spec.
func (f *surroundFlags) parseDevices(spec *container.Spec) (nodes []sandbox.Node, err error) {
	if f.privileged && os.Geteuid() == 0 {
		if nodes, err = allDevices(); err != nil {
			return nil, err
		}
	}
	var known []planner.Device
	for _, text := range f.devices {
		if strings.HasPrefix(text, "/") {
			more, err := parseDevice(text)
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, more...)
			continue
		}
		if known == nil {
			if known, err = readDevices(deviceDirs()); err != nil {
				return nil, err
			}
		}
		i := slices.IndexFunc(known, func(d planner.Device) bool { return d.Name == text })
		if i < 0 {
			return nil, usage("--device: this machine has no device %q", text).WithHint("write a path of /dev, or a name that %s specify", strings.Join(deviceDirs(), " and "))
		}
		if d := known[i]; d.Refused != "" {
			return nil, usage("--device: %s cannot be had: %s", text, d.Refused)
		}
		for _, n := range known[i].Nodes {
			nodes = append(nodes, sandbox.Node(n))
		}
		spec.Env = append(known[i].Env, spec.Env...)
		for _, b := range known[i].Binds {
			spec.Volumes = append(spec.Volumes, container.Volume{Source: b.HostPath, Target: b.Path, ReadOnly: b.ReadOnly, Exists: true})
		}
	}
	return nodes, nil
}

// parseDevice reads SOURCE[:TARGET[:rwm]]. A directory stands for the devices in it.
func parseDevice(text string) ([]sandbox.Node, error) {
	parts := strings.Split(text, ":")
	source, target, rights := parts[0], parts[0], "rwm"
	rest := parts[1:]
	if len(rest) > 0 && path.IsAbs(rest[0]) {
		target, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		rights, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 || strings.Trim(rights, "rwm") != "" {
		return nil, usage("--device: %q is no device", text).WithHint("write --device /dev/fuse, or --device /dev/fuse:/dev/other")
	}
	if !strings.Contains(rights, "r") || !strings.Contains(rights, "w") {
		return nil, usage("--device: %q: less than rw cannot be granted", text).WithHint("the modes of a device's node bound who may use it")
	}
	if target = path.Clean(target); !strings.HasPrefix(target, "/dev/") {
		return nil, usage("--device: %q is not in /dev", target)
	}
	info, err := os.Stat(source)
	if err != nil {
		return nil, usage("--device: %v", err)
	}
	if info.IsDir() {
		return devicesIn(source, target, nil)
	}
	if info.Mode()&fs.ModeDevice == 0 {
		return nil, usage("--device: %s is no device", source)
	}
	return []sandbox.Node{{Path: target, HostPath: source}}, nil
}

// devicesIn are the devices below a directory of the host, but for what is in the directories left out.
func devicesIn(source, target string, leave []string) (nodes []sandbox.Node, err error) {
	err = filepath.WalkDir(source, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("--device: %w", err)
		}
		rest := strings.TrimPrefix(name, source)
		switch {
		case slices.Contains(leave, strings.TrimPrefix(rest, "/")) && e.IsDir():
			return fs.SkipDir
		case slices.Contains(leave, strings.TrimPrefix(rest, "/")):
		case e.Type()&fs.ModeDevice != 0:
			nodes = append(nodes, sandbox.Node{Path: target + rest, HostPath: name})
		}
		return nil
	})
	return nodes, err
}

// allDevices are those of the machine, without what a container has of its own.
func allDevices() ([]sandbox.Node, error) {
	if os.Getenv(insideEnv) != "" {
		return nil, nil // a user namespace can only show some
	}
	own := []string{"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "mqueue",
		"kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control"}
	nodes, err := devicesIn("/dev", "/dev", own)
	return slices.DeleteFunc(nodes, func(n sandbox.Node) bool { return strings.HasPrefix(n.Path, "/dev/loop") }), err
}

// heldRunFlags are flags of docker's run that can only be what they are here.
var heldRunFlags = map[string]held{
	"disable-content-trust": {"true", "signatures of docker's trust servers are not looked at"},
	"isolation":             {"default", "other ones are of Windows"},
	"restart":               {"no", "there is no daemon that could start a container again"},
	"sig-proxy":             {"true", "the container runs beside this process, and ends with it"},
	"volume-driver":         {localDriver, "volumes are directories of this machine"},
	"log-driver":            {"json-file", "output goes to a file that logs reads"},
	"cgroupns":              {"private", "a container sees its own cgroup as the topmost"},
	"ipc":                   {"private", "a container has its own shared memory and queues"},
	"pid":                   {"", "a container's processes end with its first one, in a namespace of their own"},
	"uts":                   {"", "a container has its own host name"},
	"userns":                {"", "a container is in the user namespace of whoever started it"},
	"use-api-socket":        {"false", "there is no daemon, and no socket of one"},
	"oom-kill-disable":      {"false", "a container that takes too much memory is ended"},
}

// missingRunFlags are flags of docker's run that have no meaning here, or none yet,
// and the reason.
var missingRunFlags = withHealth(map[string]string{
	"link": noBridge, "link-local-ip": noBridge, "ip": noBridge, "ip6": noBridge, "mac-address": noBridge, "network-alias": noBridge, "net-alias": noBridge,
	"attach": "start -a connects a container that was created", "a": "start -a connects a container that was created",
	"checkpoint": "containers are not frozen to the disk", "checkpoint-dir": "containers are not frozen to the disk",
	"detach-keys":        "nobody can detach from a container: run it with -d, and look at it with logs -f",
	"gpus":               "--device takes the names of the Container Device Interface, such as nvidia.com/gpu=all",
	"runtime":            "there is no external runtime",
	"log-opt":            "the file of a container's output has no options",
	"storage-opt":        "a container's files have no bound of their own",
	"sysctl":             "settings of the kernel are the machine's",
	"device-cgroup-rule": "--device shows the devices that a container is to have",
	"memory-reservation": "--memory is the bound there is", "memory-swappiness": "--memory-swap is the bound there is", "kernel-memory": "--memory is the bound there is",
	"cpu-rt-period": "--cpus is the bound there is", "cpu-rt-runtime": "--cpus is the bound there is", "cpu-count": "it is of Windows: write --cpus", "cpu-percent": "it is of Windows: write --cpus",
	"oom-score-adj": "--memory bounds what a container takes",
	"blkio-weight":  noBlock, "blkio-weight-device": noBlock, "device-read-bps": noBlock, "device-read-iops": noBlock, "device-write-bps": noBlock, "device-write-iops": noBlock,
	"io-maxbandwidth": noBlock, "io-maxiops": noBlock,
})

const (
	noBridge = "each container's network is its own: there is no bridge on which containers meet"
	noBlock  = "input and output of devices are not bounded; --memory and --cpus are"
)

func withHealth(m map[string]string) map[string]string {
	for _, name := range []string{"cmd", "interval", "retries", "start-interval", "start-period", "timeout"} {
		m["health-"+name] = "there is no daemon that could look after a container's health"
	}
	return m
}
