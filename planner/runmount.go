package planner

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"builder/internal/diag"
	"builder/parser"
)

// runMounts plans what --mount of RUN says. from are the stages that the mounts name.
func (p *plan) runMounts(s *stage, r *parser.Run, from []*stage) (*mountPlan, error) {
	b := &mountPlan{plan: p, stage: s, run: r, env: s.env}
	given, err := r.Mounts(func(word string) (string, error) { return p.word(word, s.env, &r.Place) })
	if err != nil || len(given) == 0 {
		return b, err
	}
	for i, g := range given {
		m, err := b.mount(i, g, from[i])
		if err != nil {
			return nil, err
		}
		b.add(m)
	}
	if _, ok := s.env.Get(authSock); !ok && len(b.agents) > 0 {
		b.env.set(authSock, b.socket)
	}
	return b, nil
}

// authSock is the variable that says where an agent's socket is.
const authSock = "SSH_AUTH_SOCK"

// mountPlan collects the mounts of one RUN.
type mountPlan struct {
	*plan
	stage  *stage
	run    *parser.Run
	env    env       // of the process
	inputs []StepRef // after the root
	mounts []Mount   // bind, cache and tmpfs
	// BuildKit makes these after the others.
	secrets, agents []Mount
	socket          string // where the first agent is, as the recipe has it
}

func (b *mountPlan) add(m Mount) {
	switch m.Type {
	case MountSecret:
		b.secrets = append(b.secrets, m)
	case MountSSH:
		b.agents = append(b.agents, m)
	default:
		b.mounts = append(b.mounts, m)
	}
}

// fault is about mount n.
func (b *mountPlan) fault(n int, format string, args ...any) *diag.Error {
	return diag.Errorf(b.run.MountSpan(n), format, args...)
}

// mount plans mount n.
func (b *mountPlan) mount(n int, g parser.Mount, from *stage) (Mount, error) {
	if g.From != "" && !from.done {
		return Mount{}, b.fault(n, "cannot mount from stage %q to %q, stage needs to be defined before current command", g.From, g.Target)
	}
	m := Mount{Span: b.run.MountSpan(n), ReadOnly: g.ReadOnly, Size: g.Size, ID: g.ID, Required: g.Required, Env: g.Env}
	switch g.Type {
	case "secret":
		return b.secret(n, m, g)
	case "ssh":
		return b.agent(n, m, g)
	case "tmpfs":
		m.Type, m.ID = MountTmpfs, ""
		if path.Join("/", g.Source) != "/" {
			return m, b.fault(n, "source %q is not in a tmpfs, which is empty", g.Source)
		}
	case "cache":
		m.Type = MountCache
		b.cache(&m, g, from)
	default:
		m.Type, m.ID = MountBind, ""
		m.Source = path.Join("/", g.Source)
		b.show(&m, g, from)
	}
	m.Env, m.Required = nil, false
	m.Target = b.target(g.Target)
	if m.Target == "/" {
		return m, b.fault(n, "invalid mount target %q", "/").WithHint("give a target=PATH below the root")
	}
	return m, nil
}

// target is where a mount goes. A relative path begins in the working directory.
func (b *mountPlan) target(target string) string {
	if !path.IsAbs(target) {
		target = path.Join("/", b.stage.dir, target)
	}
	return path.Clean(target)
}

// show makes an input of what the mount shows: a stage or an image, or of the build
// context, and of a named one that is just files, a copy of what is shown.
func (b *mountPlan) show(m *Mount, g parser.Mount, from *stage) {
	files := None
	switch {
	case g.From == "":
		files = b.contextStep()
	case from.source != None:
		files = from.source
	default:
		m.Input = b.input(from.root)
		return
	}
	pattern := strings.TrimPrefix(m.Source, "/")
	if pattern == "" {
		pattern = "."
	}
	// Its place is its own: no COPY of the recipe makes the same layer with other times.
	m.Source = path.Join("/context", m.Source)
	m.Input = b.input(b.step(Step{
		Op:     Copy{Sources: []string{pattern}, Dest: m.Source, Context: true, Literal: true, KeepTimes: true},
		Inputs: []StepRef{None, files}, Span: m.Span, Stage: b.stage.id, Name: "[internal] copy of " + pattern + " for a mount",
	}))
}

// input returns the number of the step's input that is tree.
func (b *mountPlan) input(tree StepRef) int {
	i := slices.Index(b.inputs, tree)
	if i < 0 {
		i = len(b.inputs)
		b.inputs = append(b.inputs, tree)
	}
	return 1 + i
}

// cache plans a cache: its name, how it is shared, and what it begins with. An
// owner counts only where nothing else says what is shown, as with BuildKit: then
// the cache begins with an empty directory that has it.
func (b *mountPlan) cache(m *Mount, g parser.Mount, from *stage) {
	m.ID = b.cacheNamespace + "/" + g.ID
	if g.ID == "" {
		m.ID = b.cacheNamespace + "/" + path.Clean(g.Target)
	}
	switch g.Sharing {
	case "private":
		m.Sharing = SharingPrivate
	case "locked":
		m.Sharing = SharingLocked
	}
	m.Source = path.Join("/", g.Source)
	if m.Source == "/" && (g.Mode != nil || g.UID != nil || g.GID != nil) {
		m.Owner = owner(g, 0o755)
		return
	}
	if g.From != "" {
		b.show(m, g, from)
	}
}

// owner is who the mount belongs to; nil where it says nothing about that.
func owner(g parser.Mount, mode uint32) *Owner {
	if g.Mode == nil && g.UID == nil && g.GID == nil {
		return nil
	}
	o := &Owner{Mode: mode}
	if g.Mode != nil {
		o.Mode = uint32(*g.Mode) & 0o777
	}
	if g.UID != nil {
		o.UID = int(*g.UID)
	}
	if g.GID != nil {
		o.GID = int(*g.GID)
	}
	return o
}

func (b *mountPlan) secret(n int, m Mount, g parser.Mount) (Mount, error) {
	m.Type, m.ReadOnly = MountSecret, true
	if g.Source != "" {
		m.ID = g.Source
	}
	if m.ID == "" {
		if g.Target == "" {
			return m, b.fault(n, "one of source, target required")
		}
		m.ID = path.Base(g.Target)
	}
	switch {
	case g.Target != "":
		m.Target = b.target(g.Target)
	case g.Env == nil:
		m.Target = "/run/secrets/" + path.Base(m.ID)
	}
	if m.Target == "/" {
		return m, b.fault(n, "invalid mount target %q", "/")
	}
	if g.Env != nil && *g.Env == "" {
		return m, b.fault(n, "env needs the name of a variable")
	}
	m.Owner = owner(g, 0o400)
	return m, nil
}

func (b *mountPlan) agent(n int, m Mount, g parser.Mount) (Mount, error) {
	m.Type, m.ReadOnly, m.Env = MountSSH, false, nil
	if g.Source != "" {
		return m, b.fault(n, "ssh does not support source")
	}
	if m.ID == "" {
		m.ID = "default"
	}
	m.Target = fmt.Sprintf("/run/buildkit/ssh_agent.%d", len(b.agents))
	if len(b.agents) == 0 {
		b.socket = cmp.Or(g.Target, m.Target)
	}
	if g.Target != "" {
		m.Target = b.target(g.Target)
	}
	if m.Target == "/" {
		return m, b.fault(n, "invalid mount target %q", "/")
	}
	m.Owner = owner(g, 0o600)
	return m, nil
}

// order returns the mounts as they are made: first secrets that are variables, in the order of
// the recipe, then parents before children, and of several at one place the last. A
// secret that is both a variable and a file is there twice.
func (b *mountPlan) order() []Mount {
	var vars, list []Mount
	all := slices.Concat(b.mounts, b.secrets, b.agents)
	for i, m := range all {
		if m.Env != nil {
			of := m
			of.Target, of.Owner = "", nil
			vars = append(vars, of)
			m.Env = nil
		}
		if m.Target != "" && !slices.ContainsFunc(all[i+1:], func(later Mount) bool { return later.Target == m.Target }) {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(x, y Mount) int { return strings.Compare(x.Target, y.Target) })
	return append(vars, list...)
}

// shown is the environment for the names of steps: secrets are hidden there.
func (b *mountPlan) shown() env {
	vars := b.stage.env
	for _, m := range b.secrets {
		if m.Env != nil {
			vars.set(*m.Env, "****")
		}
	}
	return vars
}
