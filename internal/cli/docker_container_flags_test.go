package cli

import (
	"os"
	"strings"
	"testing"
)

// createFlags are the flags of docker 28.2 that run and create share.
const createFlags = `add-host annotation a/attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile cpu-period cpu-quota
	cpu-rt-period cpu-rt-runtime c/cpu-shares cpus cpuset-cpus cpuset-mems device device-cgroup-rule device-read-bps device-read-iops device-write-bps
	device-write-iops disable-content-trust dns dns-opt dns-option dns-search domainname entrypoint e/env env-file expose gpus group-add health-cmd
	health-interval health-retries health-start-interval health-start-period health-timeout h/hostname init i/interactive ip ip6 ipc isolation
	kernel-memory l/label label-file link link-local-ip log-driver log-opt mac-address m/memory memory-reservation memory-swap memory-swappiness mount
	name net net-alias network network-alias no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform privileged p/publish P/publish-all
	pull q/quiet read-only restart rm runtime security-opt shm-size stop-signal stop-timeout storage-opt sysctl tmpfs t/tty ulimit use-api-socket
	u/user userns uts v/volume volume-driver volumes-from w/workdir`

// containerFlags are the flags of docker 28.2 for containers, each with its short
// form in front where it has one.
var containerFlags = map[string]string{
	"attach":            "detach-keys no-stdin sig-proxy",
	"commit":            "a/author c/change m/message p/pause",
	"container inspect": "f/format s/size",
	"container prune":   "filter f/force",
	"cp":                "a/archive L/follow-link q/quiet",
	"create":            createFlags,
	"exec":              "d/detach detach-keys e/env env-file i/interactive privileged t/tty u/user w/workdir",
	"export":            "o/output",
	"kill":              "s/signal",
	"logs":              "details f/follow since n/tail t/timestamps until",
	"ps":                "a/all f/filter format n/last l/latest no-trunc q/quiet s/size",
	"restart":           "s/signal t/timeout time",
	"rm":                "f/force l/link v/volumes",
	"run":               createFlags + " d/detach detach-keys sig-proxy",
	"start":             "a/attach checkpoint checkpoint-dir detach-keys i/interactive",
	"stop":              "s/signal t/timeout time",
}

// TestContainerFlagsAreDockers looks for each flag of docker's under the same name
// and letter, or for the reason why it is not there.
func TestContainerFlagsAreDockers(t *testing.T) {
	root := newRoot(&streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	for command, flags := range containerFlags {
		for _, prefix := range []string{"", "container "} {
			if prefix != "" && (strings.HasPrefix(command, prefix) || command == "ps") {
				continue
			}
			cmd, rest, err := root.Find(strings.Fields(prefix + command))
			if err != nil || len(rest) > 0 || cmd == root {
				t.Errorf("there is no command %q: %v", prefix+command, err)
				continue
			}
			for word := range strings.FieldsSeq(flags) {
				short, name, ok := strings.Cut(word, "/")
				if !ok {
					short, name = "", word
				}
				found := cmd.Flag(name)
				switch {
				case found == nil && missingRunFlags[name] == "" && missingAttachFlags[name] == "":
					t.Errorf("%s has no --%s, and does not say why", prefix+command, name)
				case found != nil && short != "" && found.Shorthand != short:
					t.Errorf("%s --%s: its letter is %q, with docker %q", prefix+command, name, found.Shorthand, short)
				}
			}
		}
	}
}

// FuzzContainerFlags holds what is read from the values of run's flags: nothing panics, and what is
// accepted is within its bounds.
func FuzzContainerFlags(f *testing.F) {
	for _, text := range []string{
		"8080:80", "127.0.0.1:8080:80/udp", "[::1]:1-3:4-6/tcp", "published=1,target=2,protocol=udp", "80", "::80", "0:0", "65536:1",
		"type=bind,src=/a,dst=/b,readonly", "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700", "source=v,target=/v,volume-nocopy", "/run:size=1m,mode=700,exec",
		"/dev/null:/dev/x:rw", "seccomp=unconfined", "no-new-privileges:true", "NET_ADMIN",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if ports, err := parsePublish(text); err == nil {
			for _, p := range ports {
				if p.Container == 0 || p.Protocol != "tcp" && p.Protocol != "udp" {
					t.Errorf("-p %q is %+v", text, p)
				}
			}
		}
		for _, parse := range []func() (string, error){
			func() (string, error) { v, err := parseMount(text, "/here"); return v.Target, err },
			func() (string, error) { v, err := parseTmpfs(text, "/here"); return v.Target, err },
		} {
			if target, err := parse(); err == nil && (!strings.HasPrefix(target, "/") || target == "/") {
				t.Errorf("%q is mounted at %q", text, target)
			}
		}
		if v, err := parseMount(text, "/here"); err == nil && v.Memory != nil && v.Memory.Size < 0 {
			t.Errorf("%q has size %d", text, v.Memory.Size)
		}
	})
}
