package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const module = "github.com/moby/buildkit"

// Tools are BuildKit's two programs.
type Tools struct {
	Version   string
	Buildkitd string
	Buildctl  string
}

// BuildTools makes BuildKit's programs with the Go command, in the version
// that the module at dir names, and keeps them below cache.
func BuildTools(ctx context.Context, dir, cache string) (*Tools, error) {
	version, err := run(ctx, dir, "go", "list", "-m", "-f", "{{.Version}}", module)
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(cache, "buildkit-"+version)
	t := &Tools{Version: version, Buildkitd: filepath.Join(bin, "buildkitd"), Buildctl: filepath.Join(bin, "buildctl")}
	for _, file := range []string{t.Buildkitd, t.Buildctl} {
		err := BuildProgram(ctx, dir, module+"/cmd/"+filepath.Base(file), file)
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// BuildProgram builds one static program into file, unless it is there.
func BuildProgram(ctx context.Context, dir, pkg, file string) error {
	if _, err := os.Stat(file); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d", file, os.Getpid())
	if _, err := run(ctx, dir, "go", "build", "-trimpath", "-ldflags=-s -w -buildid=", "-o", part, pkg); err != nil {
		return err
	}
	return os.Rename(part, file)
}

// run returns what a command prints, without the last newline.
func run(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// StartBuildkit starts buildkitd with its state below dir. It speaks plain
// http with the registry. Its steps' cgroup has the name of dir.
func (t *Tools) StartBuildkit(ctx context.Context, dir, registry string) (*Process, error) {
	config := filepath.Join(dir, "buildkitd.toml")
	group := filepath.Base(dir)
	text := fmt.Sprintf("[worker.oci]\n  defaultCgroupParent = %q\n[registry.%q]\n  http = true\n", group, registry)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "buildkitd.sock")
	p, err := start(ctx, "unix", socket, t.Buildkitd,
		"--addr=unix://"+socket, "--root="+filepath.Join(dir, "buildkit"), "--config="+config,
		"--oci-worker=true", "--containerd-worker=false", "--oci-worker-net=host", "--oci-worker-gc=false",
		"--oci-worker-snapshotter=overlayfs",
		"--allow-insecure-entitlement=network.host", "--allow-insecure-entitlement=security.insecure")
	if err != nil {
		return nil, err
	}
	p.cgroup = group
	return p, nil
}
