package planner

import (
	"fmt"
	"strconv"

	"builder/internal/diag"
)

// MountType is a kind of [Mount].
type MountType int

// The kinds of mounts.
const (
	// MountBind is a tree, or files, or something in them.
	MountBind MountType = iota
	// MountCache is a directory of this machine that outlives builds.
	MountCache
	// MountTmpfs is an empty directory in memory.
	MountTmpfs
	// MountSecret is a secret of the build, as a file or a variable.
	MountSecret
	// MountSSH is the socket of an SSH agent.
	MountSSH
)

func (t MountType) String() string {
	return [...]string{"bind", "cache", "tmpfs", "secret", "ssh"}[t]
}

// Sharing says how steps that run at the same time use one cache.
type Sharing int

// The ways to share a cache.
const (
	SharingShared  Sharing = iota // together
	SharingPrivate                // each its own
	SharingLocked                 // one after the other
)

func (s Sharing) String() string { return [...]string{"shared", "private", "locked"}[s] }

// Mount is something that a process is shown at Target, and that is no part of
// the layer it makes.
type Mount struct {
	Type MountType
	// Target is absolute and clean; empty for a secret that is a variable.
	Target string
	// Input is which of the step's inputs a bind shows, or a cache begins with; 0 is none.
	Input int
	// Source is the path in the input, or in the cache: absolute and clean.
	Source   string
	ReadOnly bool
	// ID is the cache's, with its namespace, the secret's or the agent's.
	ID      string
	Sharing Sharing
	Size    int64 // of a tmpfs in bytes; 0 is no limit of its own
	// Env is the variable that holds a secret; nil is none.
	Env *string
	// Required says that a build without that secret or agent fails.
	Required bool
	// Owner is of what is shown; nil is the default of the kind.
	Owner *Owner
	Span  diag.Span // where the recipe asks for it
}

// Owner is who a mount belongs to, by numbers, and its permission bits.
type Owner struct {
	UID, GID int
	Mode     uint32
}

func (o *Owner) String() string { return fmt.Sprintf("%d:%d %#o", o.UID, o.GID, o.Mode) }

// Volume is something of the host that every RUN is shown. What it holds is in no key.
type Volume struct {
	Source   string // absolute
	Target   string // absolute and clean
	ReadOnly bool
}

func (v Volume) String() string {
	if v.ReadOnly {
		return v.Source + ":" + v.Target + ":ro"
	}
	return v.Source + ":" + v.Target
}

// volumes writes the volumes of an exec.
func (e encoder) volumes(volumes []Volume) {
	e.number(len(volumes))
	for _, v := range volumes {
		e.list(v.Source, v.Target, strconv.FormatBool(v.ReadOnly))
	}
}

// mounts writes the mounts of an exec. Their inputs' definitions are the step's.
func (e encoder) mounts(mounts []Mount) {
	e.number(len(mounts))
	for _, m := range mounts {
		e.list(m.Type.String(), m.Target, m.Source, m.ID, m.Sharing.String())
		e.number(m.Input)
		e.list(fmt.Sprint(m.ReadOnly), fmt.Sprint(m.Size), fmt.Sprint(m.Required))
		var env, owner []string
		if m.Env != nil {
			env = []string{*m.Env}
		}
		if m.Owner != nil {
			owner = []string{m.Owner.String()}
		}
		e.list(env...)
		e.list(owner...)
	}
}

// mounts shows the mounts of an exec.
func (w *printer) mounts(s *Step, mounts []Mount) {
	for _, m := range mounts {
		text := m.Type.String()
		if m.Target != "" {
			text += " " + strconv.Quote(m.Target)
		}
		if m.Input > 0 {
			text += " from " + ref(s.Inputs[m.Input])
		}
		if m.Source != "" && m.Source != "/" {
			text += " source " + strconv.Quote(m.Source)
		}
		if m.ID != "" {
			text += " id " + strconv.Quote(m.ID)
		}
		if m.Type == MountCache {
			text += " " + m.Sharing.String()
		}
		if m.Size != 0 {
			text += " size " + strconv.FormatInt(m.Size, 10)
		}
		if m.Env != nil {
			text += " env " + strconv.Quote(*m.Env)
		}
		if m.Owner != nil {
			text += " owner " + m.Owner.String()
		}
		if m.ReadOnly {
			text += " read-only"
		}
		if m.Required {
			text += " required"
		}
		w.option("mount", text)
	}
}
