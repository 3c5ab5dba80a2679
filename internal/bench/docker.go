package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// docker is a dockerd of the run's own. Its start is in no figure.
type docker struct {
	daemon *exec.Cmd
	log    *os.File
	socket string
	name   string
}

// startDocker starts dockerd without a network for containers: pulls need none.
func startDocker(ctx context.Context, dir string) (_ *docker, err error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	d := &docker{socket: "unix://" + filepath.Join(dir, "sock")}
	if d.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	d.daemon = exec.Command("dockerd", "--host", d.socket, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--iptables=false", "--ip6tables=false", "--bridge=none")
	d.daemon.Stdout, d.daemon.Stderr = d.log, d.log
	if err := d.daemon.Start(); err != nil {
		return nil, errors.Join(err, d.log.Close())
	}
	for range 200 {
		said, err := d.command("info", "--format", "docker {{.ServerVersion}} ({{.Driver}})").Output()
		if err == nil {
			d.name = strings.TrimSpace(string(said))
			return d, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	said, err := os.ReadFile(d.log.Name())
	return nil, errors.Join(fmt.Errorf("dockerd did not start: %s", said), err, d.stop())
}

func (d *docker) stop() error {
	_ = d.daemon.Process.Signal(os.Interrupt) // it may be gone already
	_ = d.daemon.Wait()                       // its status says nothing that matters here
	return d.log.Close()
}

func (d *docker) command(args ...string) *exec.Cmd {
	return exec.Command("docker", append([]string{"--host", d.socket}, args...)...)
}
