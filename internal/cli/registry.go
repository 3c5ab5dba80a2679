package cli

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/registry"
)

// registry returns the client for registries, with the settings of builder.toml
// and the certificates of docker's certs.d.
func (g *globals) registry() (*registry.Client, error) { return g.client(!g.tlsVerify) }

// registryFor is the client for an output.
func (g *globals) registryFor(o output) (*registry.Client, error) {
	return g.client(o.insecure || !g.tlsVerify)
}

func (g *globals) client(insecure bool) (*registry.Client, error) {
	config, err := registry.ReadConfig(os.Getenv)
	if err != nil {
		return nil, err
	}
	return registry.New(registry.Options{Config: config, Insecure: insecure, CertDirs: certDirs(), UserAgent: "builder/" + version()}), nil
}

// certDirs are the directories in which docker and others look for the
// certificates of registries, the user's first.
func certDirs() []string {
	dirs := []string{"/etc/docker/certs.d", "/etc/containers/certs.d"}
	home := os.Getenv("XDG_CONFIG_HOME")
	if home == "" && os.Getenv("HOME") != "" {
		home = filepath.Join(os.Getenv("HOME"), ".config")
	}
	if filepath.IsAbs(home) {
		dirs = append([]string{filepath.Join(home, "docker", "certs.d")}, dirs...)
	}
	return dirs
}

// tlsFlag adds the flag of commands that talk to registries.
func (g *globals) tlsFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&g.tlsVerify, "tls-verify", true, "want a certificate of the registry that somebody vouches for")
}

// platformOr parses a platform; empty is this machine's.
func platformOr(text string) (image.Platform, error) {
	if text == "" {
		return image.DefaultPlatform(), nil
	}
	p, err := image.ParsePlatform(text)
	if err != nil {
		return p, usage("--platform: %v", err)
	}
	return p, nil
}

// tagless reports whether a name was written without tag and digest: a colon
// before the last slash belongs to a port.
func tagless(text string) bool {
	return !strings.ContainsAny(text[strings.LastIndexByte(text, '/')+1:], ":@")
}
