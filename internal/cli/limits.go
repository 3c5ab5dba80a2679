package cli

import (
	"encoding/csv"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"builder/internal/diag"
	"builder/planner"
)

// limitFlags are the flags that bound what a step takes, as they were typed.
type limitFlags struct {
	resources                                  []string
	memory, swap, shares, period, quota        string
	cpus, cpusetCPUs, cpusetMems, cgroupParent string
}

// add adds them; who is what is bounded.
func (f *limitFlags) add(fl *pflag.FlagSet, who, whos string) {
	fl.StringVarP(&f.memory, "memory", "m", "", "memory that "+who+" may take, such as 512m")
	fl.StringVar(&f.swap, "memory-swap", "", "memory and swap together that "+who+" may take; -1 is no bound on swap")
	fl.StringVar(&f.cpus, "cpus", "", "processors that "+who+" may keep busy, such as 1.5")
	fl.StringVarP(&f.shares, "cpu-shares", "c", "", "share of the processors, against the 1024 of others")
	fl.StringVar(&f.period, "cpu-period", "", "microseconds of which --cpu-quota is a part (default 100000)")
	fl.StringVar(&f.quota, "cpu-quota", "", "microseconds of processor time that "+who+" may take in each period")
	fl.StringVar(&f.cpusetCPUs, "cpuset-cpus", "", "processors that "+whos+" run on, such as 0-2,4")
	fl.StringVar(&f.cpusetMems, "cpuset-mems", "", "memory nodes that "+whos+" use, such as 0")
	fl.StringVar(&f.cgroupParent, "cgroup-parent", "", "cgroup below which each "+strings.TrimPrefix(who, "a ")+" gets its own")
}

// limitNames are what --resource takes, which are the names of the flags.
var limitNames = []string{"memory", "memory-swap", "cpus", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems"}

// parse reads the flags; one of its own outranks --resource.
func (f *limitFlags) parse() (planner.Limits, error) {
	var l planner.Limits
	for _, text := range f.resources {
		fields, err := csv.NewReader(strings.NewReader(text)).Read()
		if err != nil {
			return l, usage("--resource: %q: %v", text, err)
		}
		for i := 0; i < len(fields); i++ {
			name, value, ok := strings.Cut(fields[i], "=")
			for i+1 < len(fields) && !strings.Contains(fields[i+1], "=") {
				i++
				value += "," + fields[i] // of a list of processors
			}
			if !ok {
				return l, usage("--resource: %q is not NAME=VALUE", fields[i]).WithHint("write --resource memory=512m")
			}
			if err := setLimit(&l, "--resource: "+name, name, value); err != nil {
				return l, err
			}
		}
	}
	for i, value := range []string{f.memory, f.swap, f.cpus, f.shares, f.period, f.quota, f.cpusetCPUs, f.cpusetMems} {
		if value == "" {
			continue
		}
		if err := setLimit(&l, "--"+limitNames[i], limitNames[i], value); err != nil {
			return l, err
		}
	}
	if l.MemorySwap > 0 && l.MemorySwap < l.Memory {
		return l, usage("--memory-swap: %d is less than the memory, %d, which it is to include", l.MemorySwap, l.Memory)
	}
	if l.MemorySwap != 0 && l.Memory == 0 {
		return l, usage("--memory-swap: there is no bound on memory").WithHint("add --memory")
	}
	if f.cgroupParent != "" {
		l.Parent = strings.TrimPrefix(path.Clean("/"+f.cgroupParent), "/")
		if strings.Contains(f.cgroupParent, "..") || l.Parent == "" || strings.ContainsFunc(f.cgroupParent, func(r rune) bool { return r < ' ' }) {
			return l, usage("--cgroup-parent: %q is no path of a cgroup", f.cgroupParent)
		}
	}
	return l, nil
}

// setLimit reads one bound. flag is what it was given by.
func setLimit(l *planner.Limits, flag, name, value string) error {
	number := func(smallest uint64) (uint64, error) {
		n, err := strconv.ParseUint(value, 10, 62)
		if err != nil || n < smallest {
			return 0, usage("%s: %q is no number from %d on", flag, value, smallest)
		}
		return n, nil
	}
	var err error
	switch name {
	case "memory":
		if l.Memory, err = parseBytes(flag, value); err == nil && l.Memory < 6<<20 {
			err = usage("%s: %s is less than the 6m that a step needs", flag, value)
		}
	case "memory-swap":
		if value == "-1" {
			l.MemorySwap = -1
			return nil
		}
		if l.MemorySwap, err = parseBytes(flag, value); err == nil && l.MemorySwap == 0 {
			err = usage("%s: 0 is no bound", flag).WithHint("-1 is no bound on swap")
		}
	case "cpus":
		n, perr := strconv.ParseFloat(value, 64)
		if perr != nil || !(n >= 0.01) || n > 1<<20 {
			return usage("%s: %q is no number of processors", flag, value).WithHint("write 2 or 0.5")
		}
		if l.CPUPeriod == 0 {
			l.CPUPeriod = 100_000
		}
		l.CPUQuota = int64(math.Round(n * float64(l.CPUPeriod)))
	case "cpu-shares":
		l.CPUShares, err = number(2)
	case "cpu-period":
		if l.CPUPeriod, err = number(1000); err == nil && l.CPUPeriod > 1_000_000 {
			err = usage("%s: %s is more than 1000000, a second", flag, value)
		}
	case "cpu-quota":
		var n uint64
		n, err = number(1000)
		l.CPUQuota = int64(n)
	case "cpuset-cpus":
		l.CpusetCPUs, err = checkSet(flag, value)
	case "cpuset-mems":
		l.CpusetMems, err = checkSet(flag, value)
	default:
		e := usage("--resource: %q cannot be bounded", name)
		if near := diag.Nearest(name, limitNames); near != "" {
			return e.WithHint("did you mean %q?", near)
		}
		return e.WithHint("%s", strings.Join(limitNames, ", "))
	}
	return err
}

// checkSet reads a list of numbers and ranges.
func checkSet(flag, value string) (string, error) {
	for part := range strings.SplitSeq(value, ",") {
		first, last, ranged := strings.Cut(part, "-")
		from, err := strconv.ParseUint(first, 10, 16)
		to := from
		if err == nil && ranged {
			to, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || to < from {
			return "", usage("%s: %q is no list of numbers", flag, value).WithHint("write 0-2,4")
		}
	}
	return value, nil
}
