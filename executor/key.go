package executor

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"builder/cache"
	"builder/image"
	"builder/planner"
)

// parts collects what goes into a key. Each part has a name, so that a miss can
// be explained, and so that no two computations share an encoding.
type parts cache.Parts

func (p *parts) add(name, value string) { *p = append(*p, cache.Part{Name: name, Value: value}) }

func (p *parts) list(name string, values []string) {
	p.add(name+".len", strconv.Itoa(len(values)))
	for _, v := range values {
		p.add(name, v)
	}
}

// chain adds a wide key: the contents of a tree's layers, lowest first.
func (p *parts) chain(name string, chain []image.ContentDigest) {
	p.add(name+".len", strconv.Itoa(len(chain)))
	for _, c := range chain {
		p.add(name, c.String())
	}
}

// selections adds a narrow key: what was chosen from each source, and, of those
// after the first, how it is copied.
func (p *parts) selections(ops []planner.Copy, chosen []*selected) {
	for i, c := range chosen {
		digest := c.selection.Digest()
		p.add("selection", hex.EncodeToString(digest[:]))
		if i > 0 {
			p.add("unpack", strconv.FormatBool(ops[i].Unpack))
			p.add("context", strconv.FormatBool(ops[i].Context))
			if ops[i].Literal {
				p.add("literal", "true")
			}
		}
	}
}

// execParts is everything that a process can see of its making. shown says what
// mount i shows.
func execParts(op planner.Exec, root []image.ContentDigest, shown func(p *parts, i int)) cache.Parts {
	var p parts
	p.add("op", "exec")
	p.add("sandbox", sandboxVersion)
	p.chain("root", root)
	p.list("arg", op.Args)
	p.list("env", op.Env)
	p.add("user", op.User)
	p.add("dir", op.Dir)
	p.add("platform", op.Platform.OS+"/"+op.Platform.Architecture+"/"+op.Platform.Variant)
	p.add("network", strconv.Itoa(int(op.Network)))
	if op.Proxied {
		p.add("network.proxy", "true")
	}
	if op.Insecure {
		p.add("security", "insecure")
	}
	p.add("hostname", op.Hostname)
	p.add("shm", strconv.FormatInt(op.ShmSize, 10))
	for _, f := range op.Files {
		p.add("file", f.Name)
		p.add("file.mode", strconv.FormatUint(uint64(f.Mode), 8))
		p.add("file.data", string(f.Data))
	}
	for _, h := range op.Hosts {
		p.add("host", h.Name+"="+h.IP)
	}
	for _, u := range op.Ulimits {
		p.add("ulimit", fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	for _, d := range op.Devices {
		p.add("device", d.String())
	}
	if op.Limits != (planner.Limits{}) {
		p.add("limits", fmt.Sprintf("%+v", op.Limits))
	}
	for _, v := range op.Volumes {
		p.add("volume", v.Source)
		p.add("volume.target", v.Target)
		p.add("volume.readonly", strconv.FormatBool(v.ReadOnly))
	}
	for i, m := range op.Mounts {
		p.mount(m)
		if m.Input > 0 {
			shown(&p, i)
		}
	}
	return cache.Parts(p)
}

// mount adds what is known of a mount without looking at what it shows. What a cache
// holds is not in a key, and its name is only where nobody has chosen it, as with
// BuildKit: then a namespace of its own is a new beginning. Of a secret and an agent
// there is what the recipe says, and no value.
func (p *parts) mount(m planner.Mount) {
	p.add("mount", m.Type.String())
	p.add("mount.target", m.Target)
	p.add("mount.readonly", strconv.FormatBool(m.ReadOnly))
	switch m.Type {
	case planner.MountBind:
	case planner.MountCache:
		_, name, _ := strings.Cut(m.ID, "/")
		if name == m.Target && m.Sharing == planner.SharingShared {
			p.add("mount.id", m.ID)
		}
		if m.Input == 0 {
			p.add("mount.source", m.Source)
		}
	case planner.MountTmpfs:
		p.add("mount.size", strconv.FormatInt(m.Size, 10))
	case planner.MountSecret, planner.MountSSH:
		p.add("mount.id", m.ID)
		p.add("mount.required", strconv.FormatBool(m.Required))
	}
	if m.Env != nil {
		p.add("mount.env", *m.Env)
	}
	if m.Owner != nil {
		p.add("mount.owner", m.Owner.String())
	}
}

// sandboxVersion changes when what a step sees changes in a way that can change
// what it writes: everyone rebuilds.
const sandboxVersion = "3"

// mkdirParts is what a directory that WORKDIR makes depends on.
func mkdirParts(op planner.Mkdir, root []image.ContentDigest) cache.Parts {
	var p parts
	p.add("op", "mkdir")
	p.chain("root", root)
	p.add("path", op.Path)
	p.add("user", op.User)
	return cache.Parts(p)
}

// copyParts is what a copy depends on. from is the source's contribution: the
// contents of its whole tree (wide), or the digest of what is selected (narrow).
func copyParts(op planner.Copy, root []image.ContentDigest, from func(*parts)) cache.Parts {
	var p parts
	p.add("op", "copy")
	p.chain("root", root)
	p.add("dest", op.Dest)
	p.add("chown", op.Chown)
	p.add("chmod", op.Chmod)
	p.add("unpack", strconv.FormatBool(op.Unpack))
	p.add("context", strconv.FormatBool(op.Context))
	for _, f := range op.Files {
		p.add("file", f.Name)
		p.add("file.mode", strconv.FormatUint(uint64(f.Mode), 8))
		p.add("file.data", string(f.Data))
	}
	if op.KeepTimes {
		p.add("times", "kept")
	}
	if op.Link {
		p.add("link", "true")
	}
	if op.Literal {
		p.add("literal", "true") // a directory is copied as such
	}
	from(&p)
	return cache.Parts(p)
}
