package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"builder/image"
	"builder/internal/diag"
	"builder/parser"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// windows is the system that paths and shells are otherwise on.
const windows = "windows"

// empty is the config of scratch.
func empty(on image.Platform) image.Config {
	c := image.Config{
		OS: on.OS, Architecture: on.Architecture, Variant: on.Variant, OSVersion: on.OSVersion, OSFeatures: slices.Clone(on.OSFeatures),
		Config: image.RunConfig{WorkingDir: "/"},
	}
	withPath(&c, on.OS)
	return c
}

// withPath sees to it that a config has a PATH. Windows has its own.
func withPath(c *image.Config, system string) {
	if _, ok := shell.EnvsFromSlice(c.Config.Env).Get("PATH"); !ok && system != windows {
		c.Config.Env = append(c.Config.Env, "PATH="+defaultPath)
	}
}

// clone returns a config that can be changed without changing c.
func clone(c image.Config) image.Config {
	c.OSFeatures = slices.Clone(c.OSFeatures)
	c.History = slices.Clone(c.History)
	c.RootFS = image.RootFS{}
	r := &c.Config
	r.Env, r.Cmd, r.Entrypoint = slices.Clone(r.Env), slices.Clone(r.Cmd), slices.Clone(r.Entrypoint)
	r.OnBuild, r.Shell = slices.Clone(r.OnBuild), slices.Clone(r.Shell)
	r.ExposedPorts, r.Volumes, r.Labels = maps.Clone(r.ExposedPorts), maps.Clone(r.Volumes), maps.Clone(r.Labels)
	if r.Healthcheck != nil {
		h := *r.Healthcheck
		h.Test = slices.Clone(h.Test)
		r.Healthcheck = &h
	}
	return c
}

// do plans one instruction.
func (p *plan) do(s *stage, c command) error {
	p.doing = &doing{stage: s, at: c.Source()}
	defer func() { p.doing = nil }()
	p.checkOnce(s, c.Instruction)
	switch in := c.Instruction.(type) {
	case *parser.Run:
		return p.runStep(s, in, c.mounts, c.trigger)
	case *parser.Copy:
		return p.copyStep(s, in, c.from, c.trigger)
	case *parser.Workdir:
		return p.workdirStep(s, in, c.trigger)
	case *parser.Arg:
		return p.arg(s, in)
	case *parser.Env:
		return p.setEnv(s, in)
	case *parser.Label:
		return p.label(s, in)
	case *parser.Expose:
		return p.expose(s, in)
	case *parser.User:
		return p.setUser(s, in)
	case *parser.Volume:
		return p.volume(s, in)
	case *parser.StopSignal:
		return p.stopSignal(s, in)
	default:
		s.fold(in)
		return nil
	}
}

// fold plans the instructions that have no variables and cannot fail.
func (s *stage) fold(in parser.Instruction) {
	c := &s.config.Config
	switch in := in.(type) {
	case *parser.Cmd:
		c.Cmd = in.Args
		if in.Shell {
			c.Cmd = s.withShell(in.Args)
		}
		c.ArgsEscaped = true
		s.hasCmd = true
		s.commit(fmt.Sprintf("CMD %q", c.Cmd), false)
	case *parser.Entrypoint:
		c.Entrypoint = in.Args
		if in.Shell {
			c.Entrypoint = s.withShell(in.Args)
		}
		if !s.hasCmd {
			c.Cmd = nil
		}
		s.commit(fmt.Sprintf("ENTRYPOINT %q", c.Entrypoint), false)
	case *parser.Healthcheck:
		c.Healthcheck = &image.Healthcheck{
			Test: in.Test, Interval: in.Interval, Timeout: in.Timeout,
			StartPeriod: in.StartPeriod, StartInterval: in.StartInterval, Retries: in.Retries,
		}
		s.commit(fmt.Sprintf("HEALTHCHECK {Test:%v Interval:%v Timeout:%v StartPeriod:%v StartInterval:%v Retries:%d}",
			in.Test, in.Interval, in.Timeout, in.StartPeriod, in.StartInterval, in.Retries), false)
	case *parser.Shell:
		c.Shell = in.Args
		s.commit(fmt.Sprintf("SHELL %v", in.Args), false)
	case *parser.Maintainer:
		s.config.Author = in.Name
		s.commit("MAINTAINER "+in.Name, false)
	case *parser.OnBuild:
		c.OnBuild = append(c.OnBuild, in.Trigger)
	}
}

// arg plans ARG: a build argument that is given outranks the default, which
// outranks the value before the first FROM.
func (p *plan) arg(s *stage, a *parser.Arg) error {
	texts := make([]string, len(a.Args))
	for i, arg := range a.Args {
		p.checkSecret("ARG", arg.Name)
		value, ok := p.BuildArgs[arg.Name]
		inherited := false
		switch {
		case ok:
		case arg.Default != nil:
			var err error
			if value, err = p.word(*arg.Default, s.env, &a.Place); err != nil {
				return err
			}
			ok = true
		default:
			value, ok = p.global.Get(arg.Name)
			inherited = ok
		}
		s.takes.declare(arg, value, a.Span, inherited)
		texts[i] = arg.Name
		if ok {
			texts[i] += "=" + value
			if arg.Name != "BUILDKIT_SBOM_SCAN_CONTEXT" && arg.Name != "BUILDKIT_SBOM_SCAN_STAGE" {
				s.env.set(arg.Name, value)
			}
		}
		s.args = append(s.args, argument{name: arg.Name, value: value})
	}
	s.commit("ARG "+strings.Join(texts, " "), false)
	return nil
}

func (p *plan) setEnv(s *stage, e *parser.Env) error {
	vars, err := p.pairs(e.Pairs, s.env, &e.Place)
	if err != nil {
		return err
	}
	for _, v := range vars {
		p.checkLegacy(v)
		p.checkSecret("ENV", v.Name)
		s.env.set(v.Name, v.Value)
		s.config.Config.Env = withVar(s.config.Config.Env, v)
	}
	s.commit(pairsText("ENV", vars), false)
	return nil
}

// withVar replaces the first variable of that name, or adds one.
func withVar(list []string, v parser.Pair) []string {
	text := v.Name + "=" + v.Value
	for i, old := range list {
		if name, _, _ := strings.Cut(old, "="); name == v.Name {
			list[i] = text
			return list
		}
	}
	return append(list, text)
}

func (p *plan) label(s *stage, l *parser.Label) error {
	labels, err := p.pairs(l.Pairs, s.env, &l.Place)
	if err != nil {
		return err
	}
	if s.config.Config.Labels == nil {
		s.config.Config.Labels = map[string]string{}
	}
	for _, v := range labels {
		p.checkLegacy(v)
		s.config.Config.Labels[v.Name] = v.Value
	}
	s.commit(pairsText("LABEL", labels), false)
	return nil
}

func (p *plan) setUser(s *stage, u *parser.User) error {
	user, err := p.word(u.Name, s.env, &u.Place)
	if err != nil {
		return err
	}
	s.user, s.config.Config.User = user, user
	s.commit("USER "+user, false)
	return nil
}

func (p *plan) volume(s *stage, v *parser.Volume) error {
	paths, err := p.words(v.Paths, s.env, &v.Place)
	if err != nil {
		return err
	}
	if s.config.Config.Volumes == nil {
		s.config.Config.Volumes = map[string]struct{}{}
	}
	for i, path := range paths {
		if path == "" {
			return diag.Errorf(v.Find(v.Paths[i]), "VOLUME specified can not be an empty string")
		}
		s.config.Config.Volumes[path] = struct{}{}
	}
	s.commit(fmt.Sprintf("VOLUME %v", paths), false)
	return nil
}

func (p *plan) stopSignal(s *stage, in *parser.StopSignal) error {
	signal, err := p.word(in.Signal, s.env, &in.Place)
	if err != nil {
		return err
	}
	if !validSignal(signal) {
		return diag.Errorf(in.Find(in.Signal), "invalid signal: %q", signal).
			WithHint("give a number or a name such as SIGTERM")
	}
	s.config.Config.StopSignal = signal
	s.commit("STOPSIGNAL "+signal, false)
	return nil
}
