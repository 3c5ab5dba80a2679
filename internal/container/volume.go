package container

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"builder/executor/sandbox"
	"builder/internal/sys"
)

// Volume is a directory or file shown in the container.
type Volume struct {
	// Source is an absolute path of the host, the name of a volume, or empty for an
	// anonymous volume.
	Source   string
	Target   string // absolute
	ReadOnly bool
}

// volumeName is what docker accepts.
var volumeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// ParseVolume parses the argument of -v: [source:]target[:ro|rw]. A source that
// begins with "." is relative to dir.
func ParseVolume(s, dir string) (Volume, error) {
	parts := strings.Split(s, ":")
	var v Volume
	if n := len(parts); n > 1 && slices.Contains([]string{"ro", "rw"}, parts[n-1]) {
		v.ReadOnly = parts[n-1] == "ro"
		parts = parts[:n-1]
	}
	switch len(parts) {
	case 1:
		v.Target = parts[0]
	case 2:
		v.Source, v.Target = parts[0], parts[1]
		if v.Source == "" {
			return v, fmt.Errorf("volume %q: the source is empty", s)
		}
	case 3:
		return v, fmt.Errorf("volume %q: option %q is not supported", s, parts[2])
	default:
		return v, fmt.Errorf("volume %q: want [source:]target[:ro]", s)
	}
	if strings.HasPrefix(v.Source, ".") {
		v.Source = filepath.Join(dir, v.Source)
	}
	if v.Source != "" && !filepath.IsAbs(v.Source) && !volumeName.MatchString(v.Source) {
		return v, fmt.Errorf("volume %q: %q is neither an absolute path nor a name", s, v.Source)
	}
	if !path.IsAbs(v.Target) {
		return v, fmt.Errorf("volume %q: the target must be an absolute path", s)
	}
	v.Target = path.Clean(v.Target)
	if v.Target == "/" {
		return v, fmt.Errorf("volume %q: the target cannot be the root", s)
	}
	return v, nil
}

// mounts makes what a container's volumes need on the host.
func (s *Store) mounts(ctx context.Context, spec *Spec, root sandbox.Root) ([]Mount, error) {
	volumes := slices.Clone(spec.Volumes)
	for target := range spec.Config.Volumes {
		target = path.Clean("/" + target)
		if !slices.ContainsFunc(volumes, func(v Volume) bool { return v.Target == target }) {
			volumes = append(volumes, Volume{Target: target})
		}
	}
	// Outer mounts come before those in them.
	slices.SortStableFunc(volumes, func(a, b Volume) int { return strings.Compare(a.Target, b.Target) })
	var list []Mount
	for _, v := range volumes {
		m, err := s.mount(ctx, v, root)
		if err != nil {
			return list, fmt.Errorf("volume at %s: %w", v.Target, err)
		}
		list = append(list, m)
	}
	return list, nil
}

// mount finds or makes the directory or file of the host that is shown for v. A
// new volume starts with what the image has at its place.
func (s *Store) mount(ctx context.Context, v Volume, root sandbox.Root) (Mount, error) {
	m := Mount{Target: v.Target, ReadOnly: v.ReadOnly}
	if filepath.IsAbs(v.Source) {
		m.Source = v.Source
		if _, err := os.Stat(v.Source); !errors.Is(err, fs.ErrNotExist) {
			return m, err
		}
		return m, os.MkdirAll(v.Source, 0o755)
	}
	m.Volume = v.Source
	if m.Volume == "" {
		m.Anonymous = true
		var id [32]byte
		if _, err := rand.Read(id[:]); err != nil {
			return m, err
		}
		m.Volume = hex.EncodeToString(id[:])
	}
	// The name stands for the directory data in it, so that there is room for more.
	dir := filepath.Join(s.Volumes, m.Volume)
	m.Source = filepath.Join(dir, "data")
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	temporary := filepath.Join(s.Volumes, ".new-"+rand.Text())
	if err := os.MkdirAll(temporary, 0o711); err != nil {
		return m, err
	}
	err := fill(ctx, filepath.Join(temporary, "data"), root, v.Target)
	if err == nil {
		err = sys.RenameNoReplace(temporary, dir)
	}
	if errors.Is(err, fs.ErrExist) {
		err = os.RemoveAll(temporary) // another process was first
	} else if err != nil {
		err = errors.Join(err, os.RemoveAll(temporary))
	}
	return m, err
}

// fill makes the directory dir a copy of the directory at path in the root.
func fill(ctx context.Context, dir string, root sandbox.Root, path string) (err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	original, err := sandbox.OpenDir(root, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, original.Close()) }()
	from, err := sys.OpenDir(fmt.Sprintf("/proc/self/fd/%d/.", original.Fd()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := sys.OpenDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	return (&sys.Copier{To: to}).Tree(ctx, from, to, "")
}
