package planner

import (
	"fmt"
	"slices"
	"strings"

	"builder/internal/diag"
	"builder/parser"
)

// Device is what a step gets for a --device of RUN: what a specification of the
// Container Device Interface says of it.
//
// See https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
type Device struct {
	Name  string // vendor.com/class=name
	Class string // by which it may be asked for too; may be empty
	Env   []string
	Nodes []DeviceNode
	Binds []DeviceBind
	// AutoAllow says that recipes may have it without being allowed to: whoever owns
	// the machine says so.
	AutoAllow bool
	// Refused says why steps cannot have it; empty where they can.
	Refused string
}

// DeviceNode is a device in a step's /dev.
type DeviceNode struct {
	Path, HostPath string // absolute
	Mode           uint32 // permission bits; 0 is the host's
	UID, GID       int
}

// DeviceBind is a path of the host that a step sees.
type DeviceBind struct {
	Path, HostPath string
	ReadOnly       bool
}

// devices are what RUN's --device get, each once.
func (p *plan) devices(r *parser.Run) ([]Device, error) {
	var list []Device
	for _, d := range r.Devices() {
		found := p.findDevices(d.Name)
		at := r.FindFlag("--device", d.Name)
		if len(found) == 0 && d.Required {
			return nil, diag.Errorf(at, "required device %q is not registered", d.Name).WithHint("its specification is looked for in /etc/cdi and /var/run/cdi")
		}
		for _, f := range found {
			switch {
			case !p.allowed(f):
				return nil, diag.Errorf(at, "device %s is requested by the build but not allowed", f.Name).
					WithHint("a recipe may ask for it if the command line has --allow device=%s", f.Name)
			case f.Refused != "":
				return nil, diag.Errorf(at, "device %s: %s", f.Name, f.Refused)
			}
			if !slices.ContainsFunc(list, func(have Device) bool { return have.Name == f.Name }) {
				list = append(list, f)
			}
		}
	}
	return list, nil
}

// findDevices are the devices that a name means: one, the first of a kind, all of
// a kind, or those of a class.
func (p *plan) findDevices(name string) []Device {
	kind, rest, _ := strings.Cut(name, "=")
	var found []Device
	for _, d := range p.Devices {
		of, own, _ := strings.Cut(d.Name, "=")
		if of == kind && (rest == "*" || rest == own || rest == "" && len(found) == 0) {
			found = append(found, d)
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, d := range p.Devices {
		if d.Class != "" && d.Class == name {
			found = append(found, d)
		}
	}
	return found
}

// allowed reports whether the command line, or the machine, lets recipes have a device.
func (p *plan) allowed(d Device) bool {
	return p.Allow.AllDevices || d.AutoAllow || slices.ContainsFunc(p.Allow.Devices, func(name string) bool {
		return slices.ContainsFunc(p.findDevices(name), func(a Device) bool { return a.Name == d.Name })
	})
}

// String returns all that a device is.
func (d Device) String() string {
	return fmt.Sprintf("%s env%q nodes%+v binds%+v", d.Name, d.Env, d.Nodes, d.Binds)
}
