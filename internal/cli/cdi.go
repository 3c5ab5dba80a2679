package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"builder/planner"
)

// deviceDirs are where specifications of devices lie; one of a later directory outranks
// one of the same name before.
func deviceDirs() []string { return []string{"/etc/cdi", "/var/run/cdi"} }

// Annotations that BuildKit reads, of a specification or of one device.
const (
	deviceClass     = "org.mobyproject.buildkit.device.class"
	deviceAutoAllow = "org.mobyproject.buildkit.device.autoallow"
)

// maxDeviceSpec is how long a specification may be.
const maxDeviceSpec = 1 << 20

// deviceSpec is a specification of the Container Device Interface, as far as it is
// read.
type deviceSpec struct {
	Version     string            `json:"cdiVersion"`
	Kind        string            `json:"kind"`
	Annotations map[string]string `json:"annotations"`
	Devices     []struct {
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations"`
		Edits       deviceEdits       `json:"containerEdits"`
	} `json:"devices"`
	Edits deviceEdits `json:"containerEdits"`
}

type deviceEdits struct {
	Env   []string `json:"env"`
	Nodes []struct {
		Path     string  `json:"path"`
		HostPath string  `json:"hostPath"`
		Mode     *uint32 `json:"fileMode"`
		UID      *int    `json:"uid"`
		GID      *int    `json:"gid"`
	} `json:"deviceNodes"`
	Mounts []struct {
		HostPath      string   `json:"hostPath"`
		ContainerPath string   `json:"containerPath"`
		Options       []string `json:"options"`
		Type          string   `json:"type"`
	} `json:"mounts"`
	Hooks          []json.RawMessage `json:"hooks"`
	IntelRdt       json.RawMessage   `json:"intelRdt"`
	NetDevices     []json.RawMessage `json:"netDevices"`
	AdditionalGIDs []uint32          `json:"additionalGids"`
}

// readDevices reads what this machine says of its devices, sorted by name.
func readDevices(dirs []string) ([]planner.Device, error) {
	byName := map[string]planner.Device{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			kind := filepath.Ext(e.Name())
			if kind != ".json" && kind != ".yaml" {
				continue
			}
			file := filepath.Join(dir, e.Name())
			data, err := readSmall(file, maxDeviceSpec)
			if err != nil {
				return nil, err
			}
			var spec deviceSpec
			if kind == ".yaml" {
				data, err = jsonOf(data)
			}
			if err == nil {
				err = json.Unmarshal(data, &spec)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			for _, d := range spec.Devices {
				name := spec.Kind + "=" + d.Name
				device := planner.Device{Name: name}
				for _, annotations := range []map[string]string{spec.Annotations, d.Annotations} {
					device.Class = cmp.Or(annotations[deviceClass], device.Class)
					if auto, err := strconv.ParseBool(annotations[deviceAutoAllow]); err == nil {
						device.AutoAllow = auto
					}
				}
				for _, edits := range []deviceEdits{spec.Edits, d.Edits} {
					edits.add(&device)
				}
				byName[name] = device
			}
		}
	}
	var list []planner.Device
	for _, d := range byName {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b planner.Device) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// jsonOf turns YAML into JSON, so that one set of names reads both.
func jsonOf(text []byte) ([]byte, error) {
	var value map[string]any
	if err := yaml.Unmarshal(text, &value); err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

// add adds to a device what a specification says.
func (e *deviceEdits) add(d *planner.Device) {
	switch {
	case len(e.Hooks) > 0:
		d.Refused = "hooks are not run"
	case len(e.IntelRdt) > 0 || len(e.NetDevices) > 0 || len(e.AdditionalGIDs) > 0:
		d.Refused = "its specification has intelRdt, netDevices or additionalGids, which are not supported"
	}
	d.Env = append(d.Env, e.Env...)
	for _, n := range e.Nodes {
		node := planner.DeviceNode{Path: n.Path, HostPath: n.HostPath}
		if node.HostPath == "" {
			node.HostPath = n.Path
		}
		if n.Mode != nil {
			node.Mode = *n.Mode & 0o777
		}
		if n.UID != nil {
			node.UID = *n.UID
		}
		if n.GID != nil {
			node.GID = *n.GID
		}
		if !strings.HasPrefix(path.Clean(n.Path), "/dev/") {
			d.Refused = fmt.Sprintf("its node %q is not in /dev", n.Path)
		}
		d.Nodes = append(d.Nodes, node)
	}
	for _, m := range e.Mounts {
		if m.Type != "" && m.Type != "bind" && m.Type != "none" {
			d.Refused = fmt.Sprintf("its mount at %s is of type %s", m.ContainerPath, m.Type)
		}
		if !path.IsAbs(m.ContainerPath) || !path.IsAbs(m.HostPath) {
			d.Refused = "a path of its mounts is not absolute"
		}
		d.Binds = append(d.Binds, planner.DeviceBind{Path: path.Clean(m.ContainerPath), HostPath: m.HostPath, ReadOnly: slices.Contains(m.Options, "ro")})
	}
}
