// Command serve runs BuildKit and a registry until its standard input ends.
// It prints one line of JSON that says where they are.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"builder/oracle/daemon"
)

// where is what it prints.
type where struct {
	Release   string // of BuildKit
	Buildkitd string // the program
	Buildctl  string // the program
	Address   string // for buildctl's --addr
	Registry  string // host and port
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	module := flag.String("oracle", ".", "directory of the oracle's Go module")
	dir := flag.String("dir", "", "an existing directory for the state; its name becomes the steps' cgroup")
	addr := flag.String("registry", "127.0.0.1:5998", "where the registry listens, if that is free")
	flag.Parse()
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	tools, err := daemon.BuildTools(ctx, *module, filepath.Join(cache, "builder-oracle"))
	if err != nil {
		return err
	}
	if *addr, err = daemon.FreeAddr(*addr); err != nil {
		return err
	}
	registry, err := daemon.StartRegistry(ctx, *dir, *addr)
	if err != nil {
		return err
	}
	defer registry.Stop()
	buildkit, err := tools.StartBuildkit(ctx, *dir, *addr)
	if err != nil {
		return err
	}
	defer buildkit.Stop()
	err = json.NewEncoder(os.Stdout).Encode(where{
		Release: tools.Version, Buildkitd: tools.Buildkitd, Buildctl: tools.Buildctl,
		Address: "unix://" + buildkit.Addr, Registry: *addr,
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	return err
}
