package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/pelletier/go-toml/v2"
)

// Config is what users say about registries: the tables [registry."host"] of
// builder.toml, in the form of buildkitd.toml.
type Config struct {
	Registry map[string]Settings `toml:"registry"`
	// Cache is read with the rest of the file and means nothing here.
	Cache Cache `toml:"cache"`
	// History likewise.
	History History `toml:"history"`
}

// History is the table [history] of builder.toml: how many records of builds stay.
type History struct {
	Keep    *int   `toml:"keep"`
	MaxSize string `toml:"max-size"`
}

// Cache is the table [cache] of builder.toml.
type Cache struct {
	// MaxSize bounds what caches take that no image needs, such as "20gb".
	MaxSize string `toml:"max-size"`
	// GC are rules for what goes, in the order in which they are followed, with
	// the keys that buildkitd.toml has for them.
	GC []GCRule `toml:"gcpolicy"`
}

// GCRule says which caches go. Sizes are numbers of bytes, or text such as "10GB" or, of
// the disk, "20%"; times are numbers of seconds, or text such as "48h".
type GCRule struct {
	All           bool     `toml:"all"`
	Filters       []string `toml:"filters"`
	KeepDuration  any      `toml:"keepDuration"`
	ReservedSpace any      `toml:"reservedSpace"`
	MaxUsedSpace  any      `toml:"maxUsedSpace"`
	MinFreeSpace  any      `toml:"minFreeSpace"`
}

// Settings is what is said about one registry, by its domain as it stands in
// names ("docker.io", "localhost:5000") or about a mirror.
type Settings struct {
	// Mirrors are asked before the registry: a host each, with its port and a path
	// in front of the repository's where there is one.
	Mirrors []string `toml:"mirrors"`
	// HTTP says that the registry speaks plain http.
	HTTP *bool `toml:"http"`
	// Insecure says that its certificate proves nothing, and that plain http will
	// do where it speaks no TLS.
	Insecure *bool `toml:"insecure"`
	// CA are files of certificates that are trusted beside the system's.
	CA []string `toml:"ca"`
	// Keypair are certificates that this side shows, with their keys.
	Keypair []Keypair `toml:"keypair"`
	// Search is where docker.io is searched, "https://index.docker.io" by default.
	Search string `toml:"search"`
}

// Keypair is the files of a certificate and its key, in PEM form.
type Keypair struct {
	Key         string `toml:"key"`
	Certificate string `toml:"cert"`
}

// ParseConfig parses builder.toml. A key that it does not know is an error, with
// the place where it stands.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, explainTOML(err)
	}
	for host, s := range c.Registry {
		if !isHost(host) {
			return Config{}, fmt.Errorf("registry %q: the name of a registry is a host, perhaps with a port", host)
		}
		for _, m := range s.Mirrors {
			if name, _, _ := strings.Cut(m, "/"); !isHost(name) {
				return Config{}, fmt.Errorf("registry %q: mirror %q: a mirror is a host, perhaps with a port and a path, without a scheme", host, m)
			}
		}
	}
	return c, nil
}

// explainTOML adds the place to an error of the decoder.
func explainTOML(err error) error {
	if e, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(e.Errors) > 0 {
		first := e.Errors[0]
		line, column := first.Position()
		return fmt.Errorf("%d:%d: unknown key %q", line, column, strings.Join(first.Key(), "."))
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := e.Position()
		return fmt.Errorf("%d:%d: %s", line, column, strings.TrimPrefix(e.Error(), "toml: "))
	}
	return err
}

// isHost reports whether s can be the registry in the name of an image.
func isHost(s string) bool {
	named, err := reference.WithName(s + "/x")
	return err == nil && reference.Domain(named) == s
}

// ReadConfig reads builder.toml: the file that BUILDER_CONFIG names, else the one
// in the user's configuration directory, else the one in /etc/builder. None at
// all is an empty configuration. getenv is [os.Getenv].
func ReadConfig(getenv func(string) string) (Config, error) {
	if path := getenv("BUILDER_CONFIG"); path != "" {
		return readConfig(path)
	}
	home := getenv("XDG_CONFIG_HOME")
	if home == "" && getenv("HOME") != "" {
		home = filepath.Join(getenv("HOME"), ".config")
	}
	paths := []string{"/etc/builder/builder.toml"}
	if filepath.IsAbs(home) {
		paths = append([]string{filepath.Join(home, "builder", "builder.toml")}, paths...)
	}
	for _, path := range paths {
		c, err := readConfig(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	return Config{}, nil
}

func readConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// isLocal reports whether a host is this machine, whose registries may speak
// plain http without being told, as with docker: localhost and 127.0.0.0/8.
func isLocal(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
