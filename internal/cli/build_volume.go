package cli

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"builder/planner"
)

// parseVolumes reads --volume: HOST:TARGET[:ro|rw].
func parseVolumes(texts []string) ([]planner.Volume, error) {
	var list []planner.Volume
	for _, text := range texts {
		v, err := parseVolume(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(o planner.Volume) bool { return o.Target == v.Target }) {
			return nil, usage("--volume: %q: something is shown at %s already", text, v.Target)
		}
		if _, err := os.Stat(v.Source); err != nil {
			return nil, usage("--volume: %q: %v", text, err)
		}
		list = append(list, v)
	}
	return list, nil
}

func parseVolume(text string) (v planner.Volume, err error) {
	const form = "write --volume HOST:TARGET, or HOST:TARGET:ro"
	parts := strings.Split(text, ":")
	if len(parts) != 2 && len(parts) != 3 || slices.Contains(parts, "") || strings.ContainsRune(text, 0) {
		return v, usage("--volume: %q is not HOST:TARGET", text).WithHint(form)
	}
	v.Target = path.Clean(parts[1])
	switch {
	case !strings.Contains(parts[0], "/") && parts[0] != "." && parts[0] != "..":
		return v, usage("--volume: %q: %q is no path", text, parts[0]).WithHint("a build has no named volumes; a directory here is ./%s", parts[0])
	case !path.IsAbs(parts[1]):
		return v, usage("--volume: %q: the target %q is not absolute", text, parts[1]).WithHint(form)
	case v.Target == "/":
		return v, usage("--volume: %q: nothing can be mounted on the root", text)
	case kernels(v.Target):
		return v, usage("--volume: %q: nothing can be mounted at %s", text, v.Target)
	}
	if len(parts) == 3 {
		for option := range strings.SplitSeq(parts[2], ",") {
			switch option {
			case "ro":
				v.ReadOnly = true
			case "rw":
				v.ReadOnly = false
			default:
				return v, usage("--volume: %q: option %q is not supported", text, option).WithHint("ro or rw")
			}
		}
	}
	if v.Source, err = filepath.Abs(parts[0]); err != nil {
		return v, usage("--volume: %q: %v", text, err)
	}
	return v, nil
}

// kernels reports whether a path is one of the kernel's, where nothing can be mounted.
func kernels(target string) bool {
	return target == "/sys" || target == "/proc" || strings.HasPrefix(target, "/proc/")
}
