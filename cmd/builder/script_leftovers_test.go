package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// leftovers says what of a script's stores is left when it is over: leases that
// nobody gave back and temporary directories in them, mounts in any namespace,
// processes.
func leftovers(spare string) error {
	var errs []error
	err := filepath.WalkDir(spare, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if _, err := os.Stat(filepath.Join(path, "leases")); err != nil {
			return nil
		}
		for _, dir := range []string{"leases", "trash"} {
			entries, err := os.ReadDir(filepath.Join(path, dir))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			for _, e := range entries {
				errs = append(errs, fmt.Errorf("left in the store: %s/%s", dir, e.Name()))
			}
		}
		return fs.SkipDir
	})
	errs = append(errs, err)
	// What was killed takes a moment to be gone.
	deadline := time.After(2 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		found := holders(spare)
		if len(found) == 0 {
			return errors.Join(errs...)
		}
		select {
		case <-tick.C:
		case <-deadline:
			return errors.Join(append(errs, found...)...)
		}
	}
}

// holders lists the processes that have something of a directory mounted or in
// their environment. Processes that end meanwhile are none.
func holders(dir string) []error {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return []error{err}
	}
	var found []error
	for _, p := range processes {
		command, err := os.ReadFile(p + "/cmdline")
		if err != nil || len(command) == 0 {
			continue
		}
		for _, file := range []string{"mountinfo", "environ"} {
			data, err := os.ReadFile(filepath.Join(p, file))
			if err == nil && bytes.Contains(data, []byte(dir+"/")) {
				found = append(found, fmt.Errorf("%s has %s in its %s: %s", p, dir, file, strings.ReplaceAll(string(command), "\x00", " ")))
			}
		}
	}
	return found
}
