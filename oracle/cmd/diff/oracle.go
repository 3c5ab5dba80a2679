package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"builder/oracle/recipe"
	"builder/oracle/result"
)

// format is part of the key of remembered results: raise it when package
// result, the bases or the way BuildKit is run change their meaning.
const format = "2"

// askOracle returns what BuildKit makes of the case, remembered or new. An
// answer that the case does not expect is an error and is not remembered.
func (b *bench) askOracle(ctx context.Context, c *recipe.Case, dir string) (*result.Build, error) {
	known := filepath.Join(b.cache, "results", c.Name+"-"+b.key(c)+".json")
	if !b.fresh {
		if r, err := load(known); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
	}
	r, err := b.runOracle(ctx, c, dir)
	if err != nil {
		return nil, err
	}
	if !b.anything {
		if err := expect(c, r); err != nil {
			return nil, err
		}
	}
	return r, b.save(known, r)
}

// runOracle builds the case with BuildKit.
func (b *bench) runOracle(ctx context.Context, c *recipe.Case, dir string) (*result.Build, error) {
	b.once.Do(func() { b.buildkit, b.broken = b.tools.StartBuildkit(ctx, b.dir, b.names.Registry) })
	if b.broken != nil {
		return nil, b.broken
	}
	files, err := b.place(c, dir)
	if err != nil {
		return nil, err
	}
	archive := filepath.Join(dir, "oracle.tar")
	log, err := runBuild(ctx, files, filepath.Join(dir, "oracle.log"), b.tools.Buildctl, b.buildctl(c, archive)...)
	return outcomeOf(log, err, archive)
}

// expect checks that the oracle does what the case says of it.
func expect(c *recipe.Case, r *result.Build) error {
	switch {
	case c.Refuse == nil && r.Refused:
		return fmt.Errorf("it refuses: %s", r.Message)
	case c.Refuse != nil && !r.Refused:
		return errors.New("it builds what it should refuse")
	case c.Refuse != nil && !c.Refuse.MatchString(r.Message):
		return fmt.Errorf("it refuses for another reason than %q: %s", c.Refuse, r.Message)
	}
	return nil
}

// key is made of all that the oracle's answer depends on.
func (b *bench) key(c *recipe.Case) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%s\n%s\n", format, b.tools.Version, b.kernel, b.names.Registry, c.Name)
	for _, name := range slices.Sorted(maps.Keys(b.names.Digests)) {
		fmt.Fprintf(h, "%s %s\n", name, b.names.Digests[name])
	}
	if bytes.Contains(c.Text, []byte("@WEB@")) {
		fmt.Fprintln(h, b.names.Web)
	}
	h.Write(c.Text)
	return fmt.Sprintf("%.16x", h.Sum(nil))
}

func load(file string) (*result.Build, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &result.Build{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

func (b *bench) save(file string, r *result.Build) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d", file, os.Getpid())
	if err := os.WriteFile(part, data, 0o644); err != nil {
		return err
	}
	return os.Rename(part, file)
}

// buildctl is the command line for a case, to be run in the case's directory.
func (b *bench) buildctl(c *recipe.Case, archive string) []string {
	o := c.Options.Expand(b.names)
	args := []string{
		"--addr=unix://" + b.buildkit.Addr, "build", "--progress=plain", "--frontend=dockerfile.v0",
		"--opt=filename=" + filepath.Base(o.File), "--output=type=oci,dest=" + archive,
	}
	opt := func(name, value string) {
		if value != "" {
			args = append(args, "--opt="+name+"="+value)
		}
	}
	if strings.Contains(o.Context, "://") {
		opt("context", o.Context)
	} else {
		args = append(args, "--local=context="+o.Context, "--local=dockerfile="+filepath.Dir(o.File))
	}
	for _, c := range o.Contexts {
		name, value, _ := strings.Cut(c, "=")
		if !strings.Contains(value, "://") {
			args = append(args, "--local="+name+"="+value)
			value = "local:" + name
		}
		opt("context:"+name, value)
	}
	opt("target", o.Target)
	opt("platform", o.Platform)
	opt("force-network-mode", o.Network)
	opt("shm-size", o.ShmSize)
	opt("ulimit", strings.Join(o.Ulimits, ","))
	var hosts []string
	for _, h := range o.AddHosts {
		hosts = append(hosts, strings.Replace(h, ":", "=", 1))
	}
	opt("add-hosts", strings.Join(hosts, ","))
	for _, a := range o.BuildArgs {
		name, value, _ := strings.Cut(a, "=")
		args = append(args, "--opt=build-arg:"+name+"="+value)
	}
	for _, l := range o.Labels {
		name, value, _ := strings.Cut(l, "=")
		args = append(args, "--opt=label:"+name+"="+value)
	}
	for _, text := range o.Annotations {
		name, value, _ := strings.Cut(text, "=")
		kind, key, typed := strings.Cut(name, ":")
		if !typed {
			kind, key = "manifest", name
		}
		args[slices.Index(args, "--output=type=oci,dest="+archive)] += ",annotation-" + kind + "." + key + "=" + value
		archive += ",annotation-" + kind + "." + key + "=" + value
	}
	for _, text := range o.Allow {
		args = append(args, "--allow="+text)
	}
	for _, text := range o.Secrets {
		args = append(args, "--secret="+text)
	}
	for _, text := range o.SSH {
		args = append(args, "--ssh="+text)
	}
	if o.NoCache || b.twice {
		args = append(args, "--no-cache")
	}
	return args
}
