package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// buildkit is the oracle's BuildKit. Its results stay in its cache: nothing is
// compressed or exported.
type buildkit struct {
	place
	Release, Buildkitd, Buildctl, Address, Registry string // as the oracle says

	serve  *exec.Cmd
	end    io.Closer // closing it ends serve
	pushed bool      // the base is in the registry
}

// startBuildkit builds and starts BuildKit and a registry.
func startBuildkit(ctx context.Context, module string, p place) (*buildkit, error) {
	program := filepath.Join(p.dir, "serve")
	compile := exec.Command("go", "build", "-o", program, "./cmd/serve")
	compile.Dir = module
	if err := p.run(ctx, compile); err != nil {
		return nil, err
	}
	// The oracle names a cgroup after this directory: make it a name of this run.
	dir := filepath.Join(p.dir, filepath.Base(filepath.Dir(p.dir)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	b := &buildkit{place: p, serve: exec.Command(program, "-oracle", module, "-dir", dir)}
	b.serve.Stderr = os.Stderr
	b.serve.Env = append(os.Environ(), "TMPDIR="+p.dir) // a killed buildkitd leaves directories there
	in, inErr := b.serve.StdinPipe()
	out, outErr := b.serve.StdoutPipe()
	if err := errors.Join(inErr, outErr, b.serve.Start()); err != nil {
		return nil, err
	}
	b.end = in
	if err := json.NewDecoder(out).Decode(b); err != nil {
		return nil, errors.Join(err, b.stop())
	}
	b.base = b.Registry + "/base:1"
	return b, nil
}

func (b *buildkit) stop() error { return errors.Join(b.end.Close(), b.serve.Wait()) }

func (b *buildkit) Name() string       { return "BuildKit " + b.Release }
func (b *buildkit) Programs() []string { return []string{b.Buildkitd, b.Buildctl, "/usr/sbin/runc"} }
func (b *buildkit) Service() int       { return b.serve.Process.Pid }
func (b *buildkit) Version() *exec.Cmd { return exec.Command(b.Buildctl, "--version") }

func (b *buildkit) Reset(ctx context.Context) error {
	if !b.pushed {
		push := b.Build(b.recipe("base"), b.tree("base"))
		push.Args = append(push.Args, "--output=type=image,push=true,registry.insecure=true,name="+b.base)
		if err := b.run(ctx, push); err != nil {
			return err
		}
		b.pushed = true
	}
	if err := b.run(ctx, exec.Command(b.Buildctl, "--addr="+b.Address, "prune", "--all")); err != nil {
		return err
	}
	return b.run(ctx, b.Build(b.recipe("wake"), b.tree("small")))
}

func (b *buildkit) Build(recipe, tree string) *exec.Cmd {
	return exec.Command(b.Buildctl, "--addr="+b.Address, "build", "--progress=plain", "--frontend=dockerfile.v0",
		"--local=context="+tree, "--local=dockerfile="+filepath.Dir(recipe))
}

// buildah is Debian's, with runc and overlayfs where they work.
type buildah struct {
	place
	release, driver, isolation string
}

// openBuildah finds out which storage and isolation work here, best first.
func openBuildah(ctx context.Context, p place) (*buildah, error) {
	out, err := exec.CommandContext(ctx, "buildah", "--version").Output()
	if err != nil {
		return nil, err
	}
	b := &buildah{place: p, release: strings.Fields(string(out))[2]}
	for _, b.driver = range []string{"overlay", "vfs"} {
		for _, b.isolation = range []string{"oci", "chroot"} {
			if err = b.Reset(ctx); err == nil {
				return b, nil
			}
		}
	}
	return nil, err
}

func (b *buildah) Name() string {
	return fmt.Sprintf("buildah %s (%s, %s)", b.release, b.driver, b.isolation)
}
func (b *buildah) Programs() []string { return []string{"/usr/bin/buildah", "/usr/sbin/runc"} }
func (b *buildah) Service() int       { return 0 }
func (b *buildah) Version() *exec.Cmd { return exec.Command("buildah", "--version") }

func (b *buildah) Reset(ctx context.Context) error {
	dir := filepath.Join(b.dir, "buildah")
	_ = syscall.Unmount(filepath.Join(dir, "root", "overlay"), syscall.MNT_DETACH) // which it leaves, if it uses it
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := b.run(ctx, b.build(b.base, b.recipe("base"), b.tree("base"))); err != nil {
		return err
	}
	return b.run(ctx, b.Build(b.recipe("wake"), b.tree("small")))
}

func (b *buildah) Build(recipe, tree string) *exec.Cmd { return b.build("app:1", recipe, tree) }

func (b *buildah) build(name, recipe, tree string) *exec.Cmd {
	dir := filepath.Join(b.dir, "buildah")
	return exec.Command("buildah", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"),
		"--storage-driver", b.driver, "bud", "--layers", "--pull-never", "--network=host", "--runtime=runc",
		"--isolation="+b.isolation, "-t", name, "-f", recipe, tree)
}
