package container

import (
	"context"
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
	// Empty leaves a new volume without what the image has at its place.
	Empty bool
	// Exists refuses a path of the host that is not there, which is made otherwise.
	Exists bool
	// Memory is a file system in memory in place of a source.
	Memory *Memory
}

// volumeName is what docker accepts.
var volumeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// IsVolumeName reports whether a volume can be called so.
func IsVolumeName(s string) bool { return volumeName.MatchString(s) }

// ParseVolume parses the argument of -v: [source:]target[:ro|rw]. A source that
// begins with "." is relative to dir.
func ParseVolume(s, dir string) (Volume, error) {
	parts := strings.Split(s, ":")
	var v Volume
	if n := len(parts); n > 1 && !path.IsAbs(parts[n-1]) && v.option(parts[n-1]) {
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

// option notes the options of a volume, ok where all are known.
func (v *Volume) option(list string) (ok bool) {
	with := *v
	for word := range strings.SplitSeq(list, ",") {
		switch word {
		case "ro":
			with.ReadOnly = true
		case "rw":
		case "nocopy":
			with.Empty = true
		default:
			return false
		}
	}
	*v = with
	return true
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
	m := Mount{Target: v.Target, ReadOnly: v.ReadOnly, Memory: v.Memory}
	if v.Memory != nil {
		return m, nil
	}
	if filepath.IsAbs(v.Source) {
		m.Source = v.Source
		if _, err := os.Stat(v.Source); !errors.Is(err, fs.ErrNotExist) {
			return m, err
		}
		if v.Exists {
			return m, fmt.Errorf("bind source path does not exist: %s", v.Source)
		}
		return m, os.MkdirAll(v.Source, 0o755)
	}
	m.Volume = v.Source
	if m.Volume == "" {
		m.Anonymous = true
		var err error
		if m.Volume, err = newVolumeName(); err != nil {
			return m, err
		}
	}
	// The name stands for the directory data in it, so that there is room for more.
	dir := filepath.Join(s.Volumes, m.Volume)
	m.Source = filepath.Join(dir, volumeData)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return m, err
		}
		if v.Empty {
			return m, nil
		}
		return m, refill(ctx, dir, root, v.Target)
	}
	err := s.makeVolume(m.Volume, noted(nil, m.Anonymous), func(data string) error {
		if v.Empty {
			return os.Mkdir(data, 0o755)
		}
		return errors.Join(os.Mkdir(data, 0o755), fill(ctx, data, root, v.Target))
	})
	if errors.Is(err, fs.ErrExist) {
		err = nil // another process was first
	}
	return m, err
}

// refill gives a volume that is there and empty what the image has at its place,
// as docker does: "volume create" makes empty ones.
func refill(ctx context.Context, dir string, root sandbox.Root, target string) (err error) {
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := sys.Lock(lock); err != nil {
		return err
	}
	data := filepath.Join(dir, volumeData)
	entries, err := os.ReadDir(data)
	if gone(err) {
		err = os.Mkdir(data, 0o755)
	}
	if err != nil || len(entries) > 0 {
		return err
	}
	return fill(ctx, data, root, target)
}

// fill makes the empty directory dir a copy of the directory at path in the root.
func fill(ctx context.Context, dir string, root sandbox.Root, path string) (err error) {
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
