package main

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

// every is the pause between two samples of the memory.
const every = time.Millisecond

// A watcher samples the memory of a tool: the sum of the proportional set
// sizes of all processes at or below its command and its service that run one
// of its programs. A step's own process does not, once it runs the step.
type watcher struct {
	peak    int64 // bytes
	service int
	own     []os.FileInfo
}

func newWatcher(t tool) *watcher {
	w := &watcher{service: t.Service()}
	for _, file := range t.Programs() {
		if f, err := os.Stat(file); err == nil {
			w.own = append(w.own, f)
		}
	}
	return w
}

// watch samples until the function that it returns is called.
func (w *watcher) watch(command int) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			sum := w.sum(command)
			if w.service != 0 {
				sum += w.sum(w.service)
			}
			w.peak = max(w.peak, sum)
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-done }
}

// sum is that of the process and its descendants. Those that end meanwhile
// may be left out.
func (w *watcher) sum(pid int) (sum int64) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	if w.isOwn(dir) {
		sum = pss(dir)
	}
	threads, _ := os.ReadDir(filepath.Join(dir, "task"))
	for _, thread := range threads {
		text, _ := os.ReadFile(filepath.Join(dir, "task", thread.Name(), "children"))
		for child := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				sum += w.sum(n)
			}
		}
	}
	return sum
}

// isOwn reports whether the process runs one of the tool's programs, or a copy
// of one in memory, as runc does.
func (w *watcher) isOwn(dir string) bool {
	exe, err := os.Stat(dir + "/exe")
	if err != nil {
		return false
	}
	name, err := os.Readlink(dir + "/exe")
	return err == nil && strings.HasPrefix(name, "/memfd:") ||
		slices.ContainsFunc(w.own, func(f os.FileInfo) bool { return os.SameFile(f, exe) })
}

// pss is a process's proportional set size in bytes; of one that has ended, 0.
func pss(dir string) (kib int64) {
	text, err := os.ReadFile(dir + "/smaps_rollup")
	if _, after, ok := bytes.Cut(text, []byte("\nPss:")); ok && err == nil {
		_, _ = fmt.Sscan(string(after), &kib)
	}
	return kib << 10
}
