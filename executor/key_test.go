package executor

import (
	"strings"
	"testing"

	"builder/image"
	"builder/planner"
)

// TestExecPartsAreGolden holds how a RUN is written into its key. A change makes
// everyone rebuild: docs/design/keys.md.
func TestExecPartsAreGolden(t *testing.T) {
	env := "NAME"
	op := planner.Exec{
		Args: []string{"/bin/sh", "-c", "x"}, Env: []string{"A=1"}, User: "u", Dir: "/w",
		Platform: image.Platform{OS: "linux", Architecture: "amd64"},
		Volumes:  []planner.Volume{{Source: "/h", Target: "/v", ReadOnly: true}},
		Mounts: []planner.Mount{
			{Type: planner.MountSecret, ID: "s", Env: &env, ReadOnly: true},
			{Type: planner.MountBind, Target: "/b", Input: 1, Source: "/x", ReadOnly: true},
			{Type: planner.MountCache, Target: "/c", ID: "ns//c", Source: "/"},
			{Type: planner.MountCache, Target: "/d", ID: "ns/id", Source: "/", Sharing: planner.SharingLocked, Owner: &planner.Owner{UID: 1, GID: 2, Mode: 0o700}},
			{Type: planner.MountCache, Target: "/e", ID: "ns/id", Source: "/y", Input: 2},
			{Type: planner.MountSSH, Target: "/s", ID: "default", Required: true},
			{Type: planner.MountTmpfs, Target: "/t", Size: 5},
		},
	}
	var got strings.Builder
	for _, p := range execParts(op, []image.ContentDigest{{1}}, func(p *parts, i int) { p.add("mount.shown", op.Mounts[i].Source) }) {
		got.WriteString(p.Name + "=" + p.Value + "\n")
	}
	want := `op=exec
sandbox=` + sandboxVersion + `
root.len=1
root=0100000000000000000000000000000000000000000000000000000000000000
arg.len=3
arg=/bin/sh
arg=-c
arg=x
env.len=1
env=A=1
user=u
dir=/w
platform=linux/amd64/
network=0
hostname=
shm=0
volume=/h
volume.target=/v
volume.readonly=true
mount=secret
mount.target=
mount.readonly=true
mount.id=s
mount.required=false
mount.env=NAME
mount=bind
mount.target=/b
mount.readonly=true
mount.shown=/x
mount=cache
mount.target=/c
mount.readonly=false
mount.id=ns//c
mount.source=/
mount=cache
mount.target=/d
mount.readonly=false
mount.source=/
mount.owner=1:2 0700
mount=cache
mount.target=/e
mount.readonly=false
mount.shown=/y
mount=ssh
mount.target=/s
mount.readonly=false
mount.id=default
mount.required=true
mount=tmpfs
mount.target=/t
mount.readonly=false
mount.size=5
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
