package container

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ProcessEntry is a process of a container, as the machine sees it.
type ProcessEntry struct {
	PID, PPID, UID int
	Started        time.Time
	Time           time.Duration // of processors
	Terminal       bool          // it has one
	Command        string

	depth int // of its pid namespace
}

// ticks are clock ticks in a second, as /proc counts them on every machine.
const ticks = 100

// Processes are those of a running container: what descends from the process beside it and is in
// another pid namespace than that.
func (c *Container) Processes() ([]ProcessEntry, error) {
	if c.Status != Running {
		return nil, c.errNotRunning()
	}
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	boot, err := bootTime()
	if err != nil {
		return nil, err
	}
	all := map[int]ProcessEntry{}
	for _, name := range names {
		if p, ok := readProcess(name, boot); ok {
			all[p.PID] = p
		}
	}
	beside := all[c.Pid].PPID
	var list []ProcessEntry
	for _, p := range all {
		if p.depth <= all[beside].depth {
			continue
		}
		for at := p.PID; at > 1; at = all[at].PPID {
			if at == beside {
				list = append(list, p)
				break
			}
		}
	}
	slices.SortFunc(list, func(a, b ProcessEntry) int { return a.PID - b.PID })
	return list, nil
}

// bootTime is when the machine was started.
func bootTime() (time.Time, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "btime "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			return time.Unix(n, 0), err
		}
	}
	return time.Time{}, fmt.Errorf("/proc/stat does not say when the machine was started")
}

// readProcess reads a directory of /proc; ok is false for a process that has ended.
func readProcess(dir string, boot time.Time) (p ProcessEntry, ok bool) {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, false
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return p, false
	}
	p, ok = parseStat(string(stat), boot)
	for line := range strings.Lines(string(status)) {
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "Uid":
			_, _ = fmt.Sscan(value, &p.UID)
		case "NSpid":
			p.depth = len(strings.Fields(value))
		}
	}
	args, err := os.ReadFile(dir + "/cmdline")
	if err == nil && len(args) > 0 {
		p.Command = strings.TrimSpace(string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
	}
	return p, ok
}

// parseStat reads /proc/PID/stat: proc_pid_stat(5).
func parseStat(text string, boot time.Time) (p ProcessEntry, ok bool) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return p, false
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 {
		return p, false
	}
	var numbers [20]int64
	for i := 1; i < 20; i++ {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return p, false
		}
		numbers[i] = n
	}
	pid, err := strconv.Atoi(strings.TrimSpace(text[:open]))
	return ProcessEntry{
		PID: pid, PPID: int(numbers[1]), Terminal: numbers[4] != 0, Command: "[" + text[open+1:end] + "]",
		Time: time.Duration(numbers[11]+numbers[12]) * time.Second / ticks, Started: boot.Add(time.Duration(numbers[19]) * time.Second / ticks),
	}, err == nil
}
