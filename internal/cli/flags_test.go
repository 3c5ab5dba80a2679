package cli

import (
	"net/netip"
	"path"
	"reflect"
	"strings"
	"testing"
)

// FuzzFlags holds what is read from the values of build's flags: nothing
// panics, nothing is read in two ways, an error names the flag, and what is
// accepted is within its bounds.
func FuzzFlags(f *testing.F) {
	for _, text := range []string{
		"type=oci,dest=x.tar,compression=zstd,compression-level=3", "type=local,dest=out", "out", "-", "type=registry,name=a/b:1", `type=oci,"dest=a,b"`,
		"base=docker-image://busybox:1", "d=./dir", "l=oci-layout://x:1", "t=target:one", "u=https://h/x.tar", "g=https://h/x.git#main:dir",
		"id=a,src=file", "id=a,env=B", "type=env,id=A", "default", "default=/run/agent", "default=k,raw=true", "=x", "/:/v:ro", "./a:/v/../w:rw,ro", "a:/v", "/a:b", "/a:/proc/x", "host:192.0.2.1", "host=2001:db8::1", "nofile=1:2", "core=-1",
		"64m", "1.5g", "memory=1g,cpuset-cpus=0,2", "index,manifest[linux/arm64]:a=b", "check,format=json", "security.insecure", "NAME=value", "NAME", "=", "linux/arm64/v8", "host", "none", "a:1", "localhost:5000/a@sha256:0",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		twice := func(flag string, read func() (any, error)) any {
			got, err := read()
			again, errAgain := read()
			if (err == nil) != (errAgain == nil) || err == nil && !reflect.DeepEqual(got, again) {
				t.Fatalf("%s %q is %v (%v), then %v (%v)", flag, text, got, err, again, errAgain)
			}
			if err != nil {
				if !strings.Contains(err.Error(), flag) {
					t.Errorf("%s %q: the message %q does not name the flag", flag, text, err)
				}
				return nil
			}
			return got
		}
		twice("--output", func() (any, error) { return parseOutput(text) })
		twice("--build-context", func() (any, error) {
			c, err := parseContexts([]string{text})
			if err != nil {
				return nil, err
			}
			return c.plan, nil
		})
		twice("--secret", func() (any, error) { return parseSecrets([]string{text}) })
		twice("--ssh", func() (any, error) {
			all, err := parseSSH([]string{text})
			sockets := map[string]string{}
			for id, a := range all {
				sockets[id] = a.socket
			}
			return sockets, err
		})
		twice("--volume", func() (any, error) {
			v, err := parseVolume(text)
			if err == nil && (!path.IsAbs(v.Source) || !path.IsAbs(v.Target) || path.Clean(v.Target) != v.Target || v.Target == "/") {
				t.Errorf("--volume %q is %+v", text, v)
			}
			return v, err
		})
		twice("--annotation", func() (any, error) { return parseAnnotations([]string{text}) })
		twice("--call", func() (any, error) { return parseCall(text, false) })
		twice("-t", func() (any, error) { return parseTags("-t", []string{text}) })
		if got := twice("--ulimit", func() (any, error) { return parseUlimit(text) }); got != nil && text == "" {
			t.Error("an empty --ulimit is accepted")
		}
		if got := twice("--shm-size", func() (any, error) { return parseBytes("--shm-size", text) }); got != nil && got.(int64) < 0 {
			t.Errorf("--shm-size %q is %d", text, got)
		}
		twice("--add-host", func() (any, error) {
			h, err := parseHost(text)
			if err == nil && h.Name == "" {
				t.Errorf("--add-host %q has no name", text)
			}
			if _, bad := netip.ParseAddr(h.IP); err == nil && bad != nil && h.IP != "host-gateway" {
				t.Errorf("--add-host %q gives the address %q", text, h.IP)
			}
			return h, err
		})
		for flag, set := range map[string]func(*buildFlags){
			"--build-arg": func(f *buildFlags) { f.buildArgs = []string{text} },
			"--label":     func(f *buildFlags) { f.labels = []string{text} },
			"--platform":  func(f *buildFlags) { f.platform = text },
			"--network":   func(f *buildFlags) { f.network = text },
			"--resource":  func(f *buildFlags) { f.limits.resources = []string{text} },
			"--allow":     func(f *buildFlags) { f.allow = []string{text} },
			"--hostname":  func(f *buildFlags) { f.hostname = text },
		} {
			twice(flag, func() (any, error) {
				f := &buildFlags{jobs: 1}
				set(f)
				return f.plan()
			})
		}
	})
}
