package bake

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"builder/internal/diag"
)

// service is what a compose file says of the build of a service.
// https://github.com/compose-spec/compose-spec/blob/main/build.md
type service struct {
	Image string `yaml:"image"`
	Build *build `yaml:"build"`
}

type build struct {
	Context            string      `yaml:"context"`
	Dockerfile         string      `yaml:"dockerfile"`
	DockerfileInline   string      `yaml:"dockerfile_inline"`
	Args               listOrMap   `yaml:"args"`
	Labels             listOrMap   `yaml:"labels"`
	Target             string      `yaml:"target"`
	Tags               []string    `yaml:"tags"`
	Platforms          []string    `yaml:"platforms"`
	CacheFrom          []string    `yaml:"cache_from"`
	CacheTo            []string    `yaml:"cache_to"`
	Network            string      `yaml:"network"`
	NoCache            *bool       `yaml:"no_cache"`
	Pull               *bool       `yaml:"pull"`
	ShmSize            string      `yaml:"shm_size"`
	SSH                []string    `yaml:"ssh"`
	ExtraHosts         listOrMap   `yaml:"extra_hosts"`
	AdditionalContexts listOrMap   `yaml:"additional_contexts"`
	Entitlements       []string    `yaml:"entitlements"`
	Ulimits            ulimits     `yaml:"ulimits"`
	Secrets            []yaml.Node `yaml:"secrets"`
	Bake               *extension  `yaml:"x-bake"`
}

// extension is x-bake: what bake knows and compose does not.
type extension struct {
	Tags          words     `yaml:"tags"`
	CacheFrom     words     `yaml:"cache-from"`
	CacheTo       words     `yaml:"cache-to"`
	Secret        words     `yaml:"secret"`
	SSH           words     `yaml:"ssh"`
	Platforms     words     `yaml:"platforms"`
	Output        words     `yaml:"output"`
	Pull          *bool     `yaml:"pull"`
	NoCache       *bool     `yaml:"no-cache"`
	NoCacheFilter words     `yaml:"no-cache-filter"`
	Contexts      listOrMap `yaml:"contexts"`
}

// words is one word or a list of them.
type words []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *words) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*w = words{n.Value}
		return nil
	}
	return n.Decode((*[]string)(w))
}

// listOrMap is a map, or a list of KEY=VALUE.
type listOrMap map[string]*string

// UnmarshalYAML implements yaml.Unmarshaler.
func (l *listOrMap) UnmarshalYAML(n *yaml.Node) error {
	*l = listOrMap{}
	if n.Kind == yaml.MappingNode {
		return n.Decode((*map[string]*string)(l))
	}
	var list []string
	if err := n.Decode(&list); err != nil {
		return err
	}
	for _, text := range list {
		key, value, ok := strings.Cut(text, "=")
		if !ok && strings.Contains(text, ":") { // hosts may be written so
			key, value, ok = strings.Cut(text, ":")
		}
		(*l)[key] = nil
		if ok {
			(*l)[key] = &value
		}
	}
	return nil
}

// ulimits are numbers, or maps of soft and hard.
type ulimits []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (u *ulimits) UnmarshalYAML(n *yaml.Node) error {
	var all map[string]yaml.Node
	if err := n.Decode(&all); err != nil {
		return err
	}
	for name, value := range all {
		var both struct{ Soft, Hard int64 }
		if value.Kind == yaml.ScalarNode {
			if err := value.Decode(&both.Soft); err != nil {
				return err
			}
			both.Hard = both.Soft
		} else if err := value.Decode(&both); err != nil {
			return err
		}
		*u = append(*u, fmt.Sprintf("%s=%d:%d", name, both.Soft, both.Hard))
	}
	slices.Sort(*u)
	return nil
}

// project is a compose file.
type project struct {
	Services map[string]*service `yaml:"services"`
	Secrets  map[string]struct {
		File        string `yaml:"file"`
		Environment string `yaml:"environment"`
	} `yaml:"secrets"`
}

// compose makes targets of services, and the group default of all of them.
func (d *Definition) compose(files []*diag.File, o Options) error {
	var names []string
	for _, f := range files {
		var p project
		var root yaml.Node
		if err := yaml.NewDecoder(bytes.NewReader([]byte(f.Text))).Decode(&root); err != nil {
			return yamlFault(f, err)
		}
		interpolate(&root, o)
		if err := root.Decode(&p); err != nil {
			return yamlFault(f, err)
		}
		for _, key := range order(&root) {
			s := p.Services[key]
			if s == nil || s.Build == nil {
				continue
			}
			t, err := s.target(strings.ReplaceAll(key, ".", "_"), &p)
			if err != nil {
				return diag.Errorf(diag.Span{File: f, Start: diag.Pos{Line: 1, Column: 1}}, "service %q: %v", key, err)
			}
			for _, m := range []map[string]*string{t.Args, t.Labels} {
				for name, value := range m { // a name alone is for what the environment says
					if found, ok := o.value(name); value == nil && ok {
						m[name] = &found
					}
				}
			}
			d.put(t)
			if !slices.Contains(names, t.Name) {
				names = append(names, t.Name)
			}
		}
	}
	d.groups["default"] = &group{targets: names}
	return nil
}

// UnmarshalYAML lets build be the context alone.
func (b *build) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		b.Context = n.Value
		return nil
	}
	type plain build
	return n.Decode((*plain)(b))
}

func (s *service) target(name string, p *project) (*Target, error) {
	b := s.Build
	t := &Target{
		Name: name, Args: b.Args, Labels: b.Labels, Platforms: b.Platforms, NoCache: b.NoCache, Pull: b.Pull,
		Ulimits: b.Ulimits, Entitlements: b.Entitlements, ExtraHosts: b.ExtraHosts,
	}
	for to, value := range map[**string]string{
		&t.Context: b.Context, &t.Dockerfile: b.Dockerfile, &t.DockerfileInline: b.DockerfileInline, &t.Target: b.Target, &t.Network: b.Network, &t.ShmSize: b.ShmSize,
	} {
		if value != "" {
			*to = ptr(value)
		}
	}
	if s.Image != "" {
		t.Tags = []string{s.Image}
	}
	t.Tags = append(t.Tags, b.Tags...)
	contexts := map[string]string{}
	for key, value := range b.AdditionalContexts {
		if value == nil {
			continue
		}
		contexts[key] = *value
		if of, ok := strings.CutPrefix(*value, "service:"); ok {
			contexts[key] = targetScheme + strings.ReplaceAll(of, ".", "_")
		}
	}
	if len(contexts) > 0 {
		t.Contexts = contexts
	}
	t.CacheFrom, t.CacheTo, t.SSH = parsed(b.CacheFrom), parsed(b.CacheTo), parsed(b.SSH)
	for _, n := range b.Secrets {
		a, err := secret(n, p)
		if err != nil {
			return nil, err
		}
		t.Secrets = append(t.Secrets, a)
	}
	b.Bake.extend(t)
	return t, nil
}

// secret is a secret of the project, by its name or with another one.
func secret(n yaml.Node, p *project) (Attrs, error) {
	var ref struct{ Source, Target string }
	if n.Kind == yaml.ScalarNode {
		ref.Source = n.Value
	} else if err := n.Decode(&ref); err != nil {
		return Attrs{}, err
	}
	s, ok := p.Secrets[ref.Source]
	if !ok {
		return Attrs{}, fmt.Errorf("secret %q: %w", ref.Source, errNone)
	}
	a := Attrs{Keys: map[string]string{"id": ref.Source}}
	if s.File != "" {
		a.Keys["src"] = s.File
	} else if s.Environment != "" {
		a.Keys["env"] = s.Environment
	}
	return a, nil
}

func (x *extension) extend(t *Target) {
	if x == nil {
		return
	}
	t.Tags = append(t.Tags, x.Tags...)
	t.CacheFrom, t.CacheTo = append(t.CacheFrom, parsed(x.CacheFrom)...), append(t.CacheTo, parsed(x.CacheTo)...)
	t.Secrets, t.SSH = append(t.Secrets, parsed(x.Secret)...), append(t.SSH, parsed(x.SSH)...)
	t.Platforms = append(t.Platforms, x.Platforms...)
	t.Outputs = append(t.Outputs, parsed(x.Output)...)
	t.NoCacheFilter = append(t.NoCacheFilter, x.NoCacheFilter...)
	replace(&t.Pull, x.Pull)
	replace(&t.NoCache, x.NoCache)
	for key, value := range x.Contexts {
		if value != nil {
			join(&t.Contexts, map[string]string{key: *value})
		}
	}
}

func parsed(texts []string) []Attrs {
	var all []Attrs
	for _, text := range texts {
		all = append(all, ParseAttrs(text))
	}
	return all
}

// order are the names of services as they are written.
func order(root *yaml.Node) []string {
	var names []string
	if len(root.Content) == 0 {
		return nil
	}
	top := root.Content[0]
	for i := 0; i+1 < len(top.Content); i += 2 {
		if top.Content[i].Value != "services" {
			continue
		}
		for j := 0; j+1 < len(top.Content[i+1].Content); j += 2 {
			names = append(names, top.Content[i+1].Content[j].Value)
		}
	}
	return names
}

var yamlPlace = pattern(`line (\d+): `)

// yamlFault gives an error of YAML its place.
func yamlFault(f *diag.File, err error) error {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:\n  ")
	at := diag.Pos{Line: 1, Column: 1}
	if m := yamlPlace().FindStringSubmatch(text); m != nil {
		fmt.Sscan(m[1], &at.Line)
		text = strings.Replace(text, m[0], "", 1)
	}
	return diag.Errorf(diag.Span{File: f, Start: at}, "%s", text)
}

// reference is $NAME, ${NAME}, ${NAME:-word}, ${NAME-word}, ${NAME:+word}, ${NAME+word} and $$.
var reference = pattern(`\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-+])([^}]*))?\})`)

// value is what the command line or the environment says of a name.
func (o Options) value(name string) (value string, ok bool) {
	if value, ok = o.Vars[name]; !ok && o.Env != nil {
		value, ok = o.Env(name)
	}
	return value, ok
}

// interpolate replaces the variables in all texts of a document.
func interpolate(n *yaml.Node, o Options) {
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "$") {
		n.Value = reference().ReplaceAllStringFunc(n.Value, func(text string) string {
			m := reference().FindStringSubmatch(text)
			if m[1] != "" {
				return "$"
			}
			name := m[2] + m[3]
			value, set := o.value(name)
			full := set && (value != "" || !strings.HasPrefix(m[4], ":"))
			switch {
			case strings.HasSuffix(m[4], "-") && !full:
				return m[5]
			case strings.HasSuffix(m[4], "+") && full:
				return m[5]
			case strings.HasSuffix(m[4], "+"):
				return ""
			default:
				return value
			}
		})
		n.Tag = ""
	}
	for _, c := range n.Content {
		interpolate(c, o)
	}
}
