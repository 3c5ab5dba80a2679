package container

import (
	"errors"
	"slices"
	"strings"

	"builder/image"
)

// Spec says what to run. What it leaves out the image's config says.
type Spec struct {
	Config image.RunConfig
	// Entrypoint takes the place of the image's, whose Cmd is forgotten then; nil keeps both, [""]
	// is none.
	Entrypoint []string
	Args       []string // take the place of Cmd
	Env        []string // NAME=VALUE; added to the image's, later ones win
	Dir, User  string
	Volumes    []Volume
	Hostname   string // the machine's if empty and the network is, too; else the short ID
	// Terminal gives the command a terminal; Interactive connects it, or without a terminal the
	// command's standard input, to Streams.In.
	Terminal, Interactive bool
}

// errNoCommand is docker's message.
var errNoCommand = errors.New("no command specified")

// defaultPath is what a container's PATH is if its image has none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// command is what is executed, put together as docker does.
func (s *Spec) command() ([]string, error) {
	entrypoint, args := s.Entrypoint, s.Args
	if len(entrypoint) == 0 {
		if len(args) == 0 {
			args = s.Config.Cmd
		}
		if entrypoint == nil {
			entrypoint = s.Config.Entrypoint
		}
	}
	if slices.Equal(entrypoint, []string{""}) {
		entrypoint = nil
	}
	all := slices.Concat(entrypoint, args)
	if len(all) == 0 {
		return nil, errNoCommand
	}
	return all, nil
}

// environment is docker's: a PATH, the host name and, with a terminal, its type,
// unless the image or the command line say otherwise.
func (c *Config) environment() []string {
	env := []string{defaultPath, "HOSTNAME=" + c.Hostname}
	if c.Terminal {
		env = append(env, "TERM=xterm")
	}
	return merge(env, c.Run.Env)
}

// merge adds variables to an environment; later ones take the place of others of
// their name.
func merge(env, more []string) []string {
	env = slices.Clone(env)
	for _, v := range more {
		name, _, _ := strings.Cut(v, "=")
		i := slices.IndexFunc(env, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		if i >= 0 {
			env[i] = v
		} else {
			env = append(env, v)
		}
	}
	return env
}

// or is the first string that is not empty.
func or(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
