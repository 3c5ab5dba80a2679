package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what a command and all that it starts may take. What is zero is not
// bounded. A limit that this machine cannot set is a [*LimitError].
type Limits struct {
	Memory     int64 // bytes
	MemorySwap int64 // bytes of memory and swap together; -1 is no bound
	CPUShares  uint64
	CPUPeriod  uint64 // microseconds
	CPUQuota   int64  // microseconds in each period
	CpusetCPUs string // such as "0-2,4"
	CpusetMems string
	Pids       int64 // processes and threads
	// Parent is a cgroup below which the command gets its own; it is made where it
	// is missing.
	Parent string
}

// LimitError is a limit that cannot be set.
type LimitError struct {
	What string
	Err  error
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s cannot be limited here: %v", e.What, e.Err)
}

func (e *LimitError) Unwrap() error { return e.Err }

// MemoryError is a command that took more memory than it may.
type MemoryError struct {
	Limit int64
	Err   error // how the command ended
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%v: it took more than the %d bytes of memory that it may", e.Err, e.Limit)
}

func (e *MemoryError) Unwrap() error { return e.Err }

// cgroup is what holds a command to its limits: a directory in each hierarchy that
// has one of its controllers.
type cgroup struct {
	unified bool
	dirs    map[string]string // by controller
	made    []string          // in the order in which they were made
	limits  Limits
}

// groupName is how the cgroups of a process's steps begin.
const groupName = "builder-"

var groups atomic.Int64

// setting is a file of a controller and what goes into it.
type setting struct{ controller, file, value, what string }

// settings translates limits into the files of one kind of hierarchy.
func (l Limits) settings(unified bool) []setting {
	var list []setting
	add := func(controller, what, old, new, value string, is bool) {
		if !is {
			return
		}
		file := old
		if unified {
			file = new
		}
		list = append(list, setting{controller, file, value, what})
	}
	add("cpuset", "the processors", "cpuset.cpus", "cpuset.cpus", l.CpusetCPUs, l.CpusetCPUs != "")
	add("cpuset", "the memory nodes", "cpuset.mems", "cpuset.mems", l.CpusetMems, l.CpusetMems != "")
	add("memory", "memory", "memory.limit_in_bytes", "memory.max", strconv.FormatInt(l.Memory, 10), l.Memory > 0)
	swap := strconv.FormatInt(l.MemorySwap, 10)
	if unified {
		swap = strconv.FormatInt(max(l.MemorySwap-l.Memory, 0), 10)
		if l.MemorySwap < 0 {
			swap = "max"
		}
	}
	add("memory", "swap", "memory.memsw.limit_in_bytes", "memory.swap.max", swap, l.MemorySwap != 0)
	shares := strconv.FormatUint(l.CPUShares, 10)
	if unified && l.CPUShares > 0 {
		// From 2 to 262144 to 1 to 10000, as runc does it.
		shares = strconv.FormatUint(1+(min(max(l.CPUShares, 2), 262144)-2)*9999/262142, 10)
	}
	add("cpu", "the share of processors", "cpu.shares", "cpu.weight", shares, l.CPUShares > 0)
	add("pids", "the number of processes", "pids.max", "pids.max", strconv.FormatInt(l.Pids, 10), l.Pids > 0)
	period := l.CPUPeriod
	if period == 0 {
		period = 100_000
	}
	if unified {
		quota := "max"
		if l.CPUQuota > 0 {
			quota = strconv.FormatInt(l.CPUQuota, 10)
		}
		add("cpu", "processor time", "", "cpu.max", fmt.Sprintf("%s %d", quota, period), l.CPUQuota > 0 || l.CPUPeriod > 0)
		return list
	}
	add("cpu", "processor time", "cpu.cfs_period_us", "", strconv.FormatUint(period, 10), l.CPUPeriod > 0)
	add("cpu", "processor time", "cpu.cfs_quota_us", "", strconv.FormatInt(l.CPUQuota, 10), l.CPUQuota > 0)
	return list
}

// hierarchies finds where the controllers are: one directory for all of them, or
// one for each.
func hierarchies() (unified string, controllers map[string]string, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	controllers = map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		switch right[0] {
		case "cgroup":
			for name := range strings.SplitSeq(right[2], ",") {
				controllers[name] = left[4]
			}
		case "cgroup2":
			unified = left[4]
		}
	}
	for _, name := range []string{"rw", "ro"} {
		delete(controllers, name)
	}
	return unified, controllers, nil
}

// newCgroup makes the cgroups of a command. nil limits are none.
func newCgroup(l *Limits) (_ *cgroup, err error) {
	if l == nil || *l == (Limits{}) {
		return nil, nil
	}
	unified, controllers, err := hierarchies()
	if err != nil {
		return nil, err
	}
	c := &cgroup{limits: *l, dirs: map[string]string{}, unified: controllers["memory"] == "" && unified != ""}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.remove())
		}
	}()
	settings := l.settings(c.unified)
	needed := map[string]string{} // by controller: what it is needed for
	for _, s := range settings {
		needed[s.controller] = s.what
	}
	if l.Parent != "" && !c.unified {
		for name := range controllers {
			if _, ok := needed[name]; !ok && !strings.HasPrefix(name, "name=") && !slices.Contains([]string{"noprefix", "xattr", "clone_children"}, name) {
				needed[name] = "the cgroup's place"
			}
		}
	}
	group := fmt.Sprintf("%s%d-%d", groupName, os.Getpid(), groups.Add(1))
	if c.unified {
		if err := c.makeUnified(unified, group, needed); err != nil {
			return nil, err
		}
	}
	for name, what := range needed {
		if c.unified {
			break
		}
		at, ok := controllers[name]
		if !ok {
			return nil, &LimitError{what, fmt.Errorf("the kernel has no cgroup controller %q", name)}
		}
		if err := c.make(name, at, group); err != nil {
			return nil, &LimitError{what, err}
		}
	}
	for _, s := range settings {
		if err := writeFile(filepath.Join(c.dirs[s.controller], s.file), s.value); err != nil {
			return nil, &LimitError{s.what, err}
		}
	}
	return c, nil
}

// makeUnified makes the one cgroup, with the controllers that are needed.
func (c *cgroup) makeUnified(root, group string, needed map[string]string) error {
	parent := filepath.Join(root, c.limits.Parent)
	if err := c.mkdirs(root, c.limits.Parent); err != nil {
		return &LimitError{"the cgroup's place", err}
	}
	for name, what := range needed {
		for at := root; ; {
			if err := writeFile(filepath.Join(at, "cgroup.subtree_control"), "+"+name); err != nil {
				return &LimitError{what, err}
			}
			if at == parent {
				break
			}
			rest, err := filepath.Rel(at, parent)
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(rest, "/")
			at = filepath.Join(at, first)
		}
	}
	dir := filepath.Join(parent, group)
	sweepGroups(parent)
	if err := c.mkdir(dir); err != nil {
		return &LimitError{"the cgroup's place", err}
	}
	for name := range needed {
		c.dirs[name] = dir
	}
	c.dirs[""] = dir
	return nil
}

// make makes the cgroup of one controller.
func (c *cgroup) make(controller, root, group string) error {
	if err := c.mkdirs(root, c.limits.Parent); err != nil {
		return err
	}
	parent := filepath.Join(root, c.limits.Parent)
	sweepGroups(parent)
	dir := filepath.Join(parent, group)
	if _, err := os.Stat(dir); err != nil { // two controllers may share a hierarchy
		if err := c.mkdir(dir); err != nil {
			return err
		}
	}
	c.dirs[controller] = dir
	return nil
}

// mkdirs makes the directories of a path below root that are missing.
func (c *cgroup) mkdirs(root, path string) error {
	at := root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		at = filepath.Join(at, name)
		if _, err := os.Stat(at); err == nil {
			continue
		}
		if err := c.mkdir(at); err != nil {
			return err
		}
	}
	return nil
}

// mkdir makes one cgroup. In the old hierarchy a set of processors begins empty,
// and nothing can run there.
func (c *cgroup) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	c.made = append(c.made, dir)
	if c.unified {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = writeFile(filepath.Join(dir, file), strings.TrimSpace(string(value)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file of the kernel's: in one call, and nothing is created.
func writeFile(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// sweepGroups removes what killed processes have left.
func sweepGroups(parent string) {
	left, err := filepath.Glob(filepath.Join(parent, groupName+"*-*"))
	if err != nil {
		return
	}
	for _, dir := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupName), "-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(dir) // it stays if something is in it
		}
	}
}

// enter has the new process move itself into its cgroups, before all else.
func (b *builder) enter(c *cgroup) error {
	if c == nil {
		return nil
	}
	done := map[string]bool{}
	for _, dir := range c.dirs {
		if done[dir] {
			continue
		}
		done[dir] = true
		f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
		if err != nil {
			return &LimitError{"the step", err}
		}
		b.keep(f)
		b.call("enter "+dir, unix.SYS_WRITE, b.file(f), b.bytes([]byte("0")), num(1))
	}
	return nil
}

// killed reports whether the kernel ended a process for the memory that it took.
func (c *cgroup) killed() bool {
	if c == nil || c.limits.Memory == 0 {
		return false
	}
	file := "memory.oom_control"
	if c.unified {
		file = "memory.events"
	}
	data, err := os.ReadFile(filepath.Join(c.dirs["memory"], file))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strings.TrimSpace(n) != "0"
		}
	}
	return false
}

// remove takes the cgroups away. The processes in them have ended; the kernel may
// take a moment to notice.
func (c *cgroup) remove() error {
	if c == nil {
		return nil
	}
	var errs []error
	for _, dir := range slices.Backward(c.made) {
		err := os.Remove(dir)
		for wait := time.Millisecond; errors.Is(err, unix.EBUSY) && wait < time.Second; wait *= 2 {
			if !strings.HasPrefix(filepath.Base(dir), groupName) {
				err = nil // another step's parent too
				break
			}
			time.Sleep(wait)
			err = os.Remove(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
