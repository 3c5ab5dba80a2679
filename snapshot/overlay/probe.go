package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"builder/internal/sys"
)

// Probe tries whether overlays with the given kind of marks can be mounted by
// this process on the file system of dir, by doing it: a file is removed
// through an overlay that is mounted nowhere, and the mark looked for. It leaves
// nothing in dir. The error says why it cannot be.
func Probe(dir string, userXattr bool) (err error) {
	base, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return fmt.Errorf("probe overlay: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(base)) }()
	if err := probe(base, userXattr); err != nil {
		return fmt.Errorf("probe overlay: %w", err)
	}
	return nil
}

func probe(base string, userXattr bool) error {
	lower, upper, work := filepath.Join(base, "lower"), filepath.Join(base, "upper"), filepath.Join(base, "work")
	for _, dir := range []string{filepath.Join(lower, "dir"), upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := probeUse(sys.Overlay{Lower: []string{lower}, Upper: upper, Work: work, UserXattr: userXattr}); err != nil {
		return err
	}
	d, err := sys.OpenDir(filepath.Join(upper, "dir"))
	if err != nil {
		return err
	}
	defer d.Close()
	opaque, err := isOpaque(d, userXattr)
	if err == nil && !opaque {
		err = errors.New("a directory that was made again is not marked")
	}
	return err
}

// probeUse removes a directory through the overlay and makes it again.
func probeUse(o sys.Overlay) (err error) {
	root, err := sys.OpenOverlay(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	dir := fmt.Sprintf("/proc/self/fd/%d/dir", root.Fd())
	if err := os.Remove(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o755)
}
