package cli

import (
	"encoding/csv"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"builder/internal/container"
	"builder/internal/diag"
)

// mountFlags are the flags of run and create about what is mounted, as they were typed.
type mountFlags struct{ volumes, mounts, tmpfs, from []string }

func (f *mountFlags) add(fl *pflag.FlagSet) {
	fl.StringArrayVarP(&f.volumes, "volume", "v", nil, "show a directory of the host, as SOURCE:TARGET[:ro], or a volume")
	fl.StringArrayVar(&f.mounts, "mount", nil, "mount something, as type=bind|volume|tmpfs[,source=SOURCE],target=TARGET[,readonly]…")
	fl.StringArrayVar(&f.tmpfs, "tmpfs", nil, "mount a file system in memory, as TARGET[:size=64m,mode=1777,exec,ro]")
	fl.StringArrayVar(&f.from, "volumes-from", nil, "have the volumes of a container, as CONTAINER[:ro]")
}

// parse reads what is mounted, but for the volumes of other containers. dir is what sources are
// relative to.
func (f *mountFlags) parse(dir string) ([]container.Volume, error) {
	var list []container.Volume
	taken := map[string]bool{}
	add := func(v container.Volume) error {
		if taken[v.Target] {
			return usage("duplicate mount point: %s", v.Target)
		}
		taken[v.Target] = true
		list = append(list, v)
		return nil
	}
	for _, text := range f.volumes {
		v, err := container.ParseVolume(text, dir)
		if err != nil {
			return nil, usage("-v: %v", err)
		}
		if err := add(v); err != nil {
			return nil, err
		}
	}
	for _, kind := range []struct {
		texts []string
		parse func(string, string) (container.Volume, error)
	}{{f.mounts, parseMount}, {f.tmpfs, parseTmpfs}} {
		for _, text := range kind.texts {
			v, err := kind.parse(text, dir)
			if err == nil {
				err = add(v)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// mountKeys are the keys of --mount that mean something here.
var mountKeys = []string{"type", "source", "src", "target", "destination", "dst", "readonly", "ro", "volume-nocopy", "tmpfs-size", "tmpfs-mode", "consistency", "bind-propagation"}

// parseMount reads --mount.
func parseMount(text, dir string) (v container.Volume, err error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return v, usage("--mount: %q: %v", text, err)
	}
	kind, source := "volume", ""
	var memory container.Memory
	var ofKind []string
	for _, field := range fields {
		key, value, given := strings.Cut(field, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if prefix, _, ok := strings.Cut(key, "-"); ok {
			ofKind = append(ofKind, prefix)
		}
		on, isBool := true, true
		if given {
			b, err := strconv.ParseBool(value)
			on, isBool = b, err == nil
		}
		switch key {
		case "type":
			kind = strings.ToLower(value)
		case "source", "src":
			source = value
		case "target", "destination", "dst":
			v.Target = value
		case "readonly", "ro", "volume-nocopy":
			if !isBool {
				return v, usage("--mount: invalid value for %q: %q", key, value)
			}
			if key == "volume-nocopy" {
				v.Empty = on
			} else {
				v.ReadOnly = on
			}
		case "tmpfs-size":
			if memory.Size, err = parseBytes("--mount: tmpfs-size", value); err != nil {
				return v, err
			}
		case "tmpfs-mode":
			if memory.Mode, err = parseMode("--mount: tmpfs-mode", value); err != nil {
				return v, err
			}
		case "consistency": // of docker's for other systems, and of none here
		case "bind-propagation":
			if value != "rprivate" && value != "private" {
				return v, usage("--mount: bind-propagation=%s is not there", value).WithHint("what is mounted in a container is seen in it alone")
			}
		default:
			e := usage("--mount: unexpected key %q in %q", key, text)
			if near := diag.Nearest(key, mountKeys); near != "" {
				return v, e.WithHint("did you mean %q?", near)
			}
			return v, e.WithHint("the keys are %s", strings.Join(mountKeys, ", "))
		}
	}
	for _, prefix := range ofKind {
		if prefix != kind {
			return v, usage("--mount: options of %s and type=%s are in %q", prefix, kind, text)
		}
	}
	switch kind {
	case "bind":
		if source == "" {
			return v, usage("--mount: type=bind needs a source: %q", text)
		}
		if strings.HasPrefix(source, ".") {
			source = filepath.Join(dir, source)
		}
		if !filepath.IsAbs(source) {
			return v, usage("--mount: source %q is not absolute", source).WithHint("write source=./%s", source)
		}
		v.Exists = true
	case "volume":
		if filepath.IsAbs(source) {
			return v, usage("--mount: %q is no name of a volume", source).WithHint("type=bind shows a directory of the host")
		}
	case "tmpfs":
		if source != "" {
			return v, usage("--mount: type=tmpfs has no source: %q", text)
		}
		memory.NoExec = true
		v.Memory = &memory
	default:
		return v, usage("--mount: type %q is not there", kind).WithHint("bind, volume and tmpfs are")
	}
	v.Source = source
	return v, checkTarget("--mount", &v)
}

// checkTarget refuses places where nothing can be mounted.
func checkTarget(flag string, v *container.Volume) error {
	if v.Target == "" {
		return usage("%s: there is no target", flag).WithHint("write target=/path")
	}
	if !path.IsAbs(v.Target) {
		return usage("%s: target %q is not an absolute path", flag, v.Target)
	}
	if v.Target = path.Clean(v.Target); v.Target == "/" {
		return usage("%s: the target cannot be the root", flag)
	}
	if v.Memory == nil && v.Source != "" && !filepath.IsAbs(v.Source) && !container.IsVolumeName(v.Source) {
		return usage("%s: %q is no name of a volume", flag, v.Source)
	}
	return nil
}

// parseTmpfs reads --tmpfs TARGET[:OPTION,…]; docker's defaults are noexec, nosuid and nodev.
func parseTmpfs(text, _ string) (v container.Volume, err error) {
	target, options, _ := strings.Cut(text, ":")
	memory := container.Memory{NoExec: true}
	v = container.Volume{Target: target, Memory: &memory}
	for _, option := range strings.FieldsFunc(options, func(r rune) bool { return r == ',' }) {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "rw", "nosuid", "nodev", "noexec":
		case "ro":
			v.ReadOnly = true
		case "exec":
			memory.NoExec = false
		case "size":
			if memory.Size, err = parseBytes("--tmpfs: size", value); err != nil {
				return v, err
			}
		case "mode":
			if memory.Mode, err = parseMode("--tmpfs: mode", value); err != nil {
				return v, err
			}
		default:
			return v, usage("--tmpfs: option %q is not there", option).WithHint("size=, mode=, exec, noexec, ro and rw are")
		}
	}
	return v, checkTarget("--tmpfs", &v)
}

func parseMode(flag, text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n == 0 || n > 0o7777 {
		return 0, usage("%s: %q is no mode", flag, text).WithHint("write 1777 or 700")
	}
	return uint32(n), nil
}

// fromOthers adds the volumes of other containers, where nothing else has their place.
func (f *mountFlags) fromOthers(s *container.Store, list []container.Volume) ([]container.Volume, error) {
	taken := map[string]bool{}
	for _, v := range list {
		taken[v.Target] = true
	}
	for _, text := range f.from {
		name, how, given := strings.Cut(text, ":")
		if given && how != "ro" && how != "rw" {
			return nil, usage("--volumes-from: %q is neither ro nor rw", how)
		}
		c, err := s.Find(name)
		if err != nil {
			return nil, err
		}
		for _, m := range c.Mounts {
			if taken[m.Target] || m.Memory != nil {
				continue
			}
			taken[m.Target] = true
			v := container.Volume{Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly || how == "ro", Exists: true}
			if m.Volume != "" {
				v.Source, v.Empty = m.Volume, true
			}
			list = append(list, v)
		}
	}
	return list, nil
}
