package planner

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/buildkit/util/system"

	"builder/image"
	"builder/internal/diag"
	"builder/parser"
)

// step adds a step to the graph, or finds the one that is equal to it.
func (p *plan) step(s Step) StepRef {
	s.ID = p.identify(&s)
	if ref, ok := p.known[s.ID]; ok {
		p.steps[ref].NoCache = p.steps[ref].NoCache || s.NoCache
		return ref
	}
	ref := StepRef(len(p.steps))
	p.steps = append(p.steps, s)
	p.known[s.ID] = ref
	return ref
}

// runStep plans RUN.
func (p *plan) runStep(s *stage, r *parser.Run, from []*stage, trigger bool) error {
	text, args := r.Text, r.Args
	if r.Summary != "" {
		text += " (" + r.Summary + ")"
	}
	var files []File
	if r.Script != nil {
		script := File{Name: path.Join("/dev/pipes", r.Script.Name), Data: []byte(r.Script.Data), Mode: 0o755}
		files, args = []File{script}, []string{script.Name}
	}
	if r.Shell {
		args = s.withShell(args)
	}
	if len(args) == 0 {
		return diag.Errorf(r.Span, "RUN has no command").WithHint("give at least the program to run")
	}
	devices, err := p.devices(r)
	if err != nil {
		return err
	}
	network, err := p.network(r)
	if err != nil {
		return err
	}
	insecure := r.Security() == "insecure"
	if insecure && !p.Allow.Insecure {
		return diag.Errorf(r.FindFlag("--security", "insecure"), "security.insecure is not allowed").
			WithHint("a recipe may ask for it if the command line has --allow security.insecure")
	}
	mounts, err := p.runMounts(s, r, from)
	if err != nil {
		return err
	}
	s.takes.need(mounts.order(), r.Span)
	name := *p.lexer(&r.Place)
	name.RawQuotes, name.RawEscapes, name.SkipUnsetEnv = true, true, true
	op := Exec{
		Args: args, Env: mounts.env.list(), ProxyEnv: p.proxy, User: s.user, Dir: s.dir, Files: files, Mounts: mounts.order(), Volumes: p.Volumes,
		Network: network, Proxied: p.Proxied && network != NetworkNone, Insecure: insecure, Hosts: p.Hosts, Hostname: p.Hostname, ShmSize: p.ShmSize, Ulimits: p.Ulimits, Limits: p.Limits, Devices: devices, Platform: s.platform,
	}
	s.root = p.step(Step{
		Op: op, Inputs: append([]StepRef{s.root}, mounts.inputs...), Span: r.Span, Stage: s.id, NoCache: s.noCache,
		Name: p.name(s, upper(replaced(&name, text, mounts.shown())), trigger),
	})
	s.layer("mount / from exec " + strings.Join(args, " "))
	s.commit("RUN "+s.runText(args)+" # buildkit", true)
	return nil
}

// network is what a step can reach: what RUN says, or else what the build says.
func (p *plan) network(r *parser.Run) (Network, error) {
	switch r.Network() {
	case "none":
		return NetworkNone, nil
	case "host":
		if !p.Allow.HostNetwork && p.Network != NetworkHost {
			return 0, diag.Errorf(r.FindFlag("--network", "host"), "network.host is not allowed").
				WithHint("a recipe may ask for it if the command line has --allow network.host")
		}
		return NetworkHost, nil
	default:
		return p.Network, nil
	}
}

// copyStep plans COPY and ADD.
func (p *plan) copyStep(s *stage, c *parser.Copy, from *stage, trigger bool) error {
	op, text, err := p.copyOp(s, c)
	if err != nil {
		return err
	}
	if c.From != "" && !from.done {
		return diag.Errorf(c.FindFlag("--from", c.From), "cannot copy from stage %q, it needs to be defined before current stage %q", c.From, s.shown)
	}
	name := p.name(s, upper(replaced(p.lexer(&c.Place), c.Text, s.env)), trigger)
	taken, err := p.origins(c, &op, from, s)
	if err != nil {
		return err
	}
	s.root = p.step(Step{
		Op: op, Inputs: append([]StepRef{s.root}, taken...), Span: c.Span, Stage: s.id, NoCache: s.noCache, Name: name,
	})
	s.layer(p.steps[s.root].Name)
	s.commit(text+" # buildkit", true)
	return nil
}

// copyOp returns the op of COPY or ADD and what the history says of it.
func (p *plan) copyOp(s *stage, c *parser.Copy) (op Copy, text string, err error) {
	if op.Chown, err = p.word(c.Chown, s.env, &c.Place); err != nil {
		return op, "", err
	}
	if op.Chmod, err = p.word(c.Chmod, s.env, &c.Place); err != nil {
		return op, "", err
	}
	if op.Sources, err = p.words(c.Sources, s.env, &c.Place); err != nil {
		return op, "", err
	}
	dest, err := p.word(c.Dest, s.env, &c.Place)
	if err != nil {
		return op, "", err
	}
	for _, f := range c.Files {
		if name := path.Join("/", f.Name); name == "/" || path.Dir(name) != "/" {
			return op, "", diag.Errorf(c.Find("<<"+f.Name), "heredoc %q: the name is none of a file in the destination", f.Name).
				WithHint("write directories into the destination: COPY <<NAME /DIRECTORY/")
		}
		data := f.Data
		if f.Expand {
			if data, err = p.raw(data, s.env, &c.Place); err != nil {
				return op, "", err
			}
		}
		op.Files = append(op.Files, File{Name: f.Name, Data: []byte(data)})
	}
	if op.Chmod != "" && !validMode(op.Chmod) {
		return op, "", diag.Errorf(c.FindFlag("--chmod", c.Chmod), "invalid chmod parameter: '%s'. it should be octal string and between 0 and 07777", op.Chmod).
			WithHint("or changes to the mode of the source, as in u=rwX,go=rX")
	}
	if c.Link && named(op.Chown) {
		return op, "", diag.Errorf(c.FindFlag("--chown", c.Chown), "--chown=%s: user and group names can't be resolved when used with --link, use numeric uid[:gid] instead", op.Chown)
	}
	text = copyText(c.Add, c.Parents, op, dest)
	for i, source := range op.Sources {
		if strings.Contains(source, "://") {
			continue
		}
		if op.Sources[i], err = s.slashed(source, c); err != nil {
			return op, "", err
		}
	}
	if dest, err = s.slashed(dest, c); err != nil {
		return op, "", err
	}
	op.Dest = s.destination(dest)
	return op, text, nil
}

// slashed is a path of COPY as it is within a tree: for Windows without its drive
// and with slashes.
func (s *stage) slashed(name string, c *parser.Copy) (string, error) {
	within, err := system.CheckSystemDriveAndRemoveDriveLetter(name, s.platform.OS, true)
	if err != nil {
		return "", diag.Errorf(c.Find(name), "%s", err).WithHint("an image has no drives but C:")
	}
	return system.ToSlash(within, s.platform.OS), nil
}

// contextStep is the build context.
func (p *plan) contextStep() StepRef {
	if p.context == None {
		p.context = p.step(Step{Op: Context{Name: "context", Ignore: p.Ignore}, Name: "[internal] load build context"})
	}
	return p.context
}

// destination is where a COPY goes: absolute, clean, and with a slash at its
// end where it is to be a directory.
func (s *stage) destination(dest string) string {
	clean := path.Clean("/" + dest)
	if !path.IsAbs(dest) {
		clean = path.Join("/", s.dir, dest)
	}
	if dest == "" || dest == "." || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.") {
		return strings.TrimSuffix(clean, "/") + "/"
	}
	return clean
}

// workdirStep plans WORKDIR.
func (p *plan) workdirStep(s *stage, w *parser.Workdir, trigger bool) error {
	dir, err := p.word(w.Path, s.env, &w.Place)
	if err != nil {
		return err
	}
	p.checkWorkdir(s, dir)
	written := dir
	if dir, err = s.workdir(dir); err != nil {
		return diag.Errorf(w.Find(w.Path), "working directory %q: %s", written, err)
	}
	if dir != "/" {
		s.root = p.step(Step{
			Op: Mkdir{Path: path.Clean(dir), User: s.config.Config.User}, Inputs: []StepRef{s.root}, Span: w.Span, Stage: s.id,
			Name: p.name(s, upper(replaced(p.lexer(&w.Place), w.Text, s.env)), trigger),
		})
		s.layer(p.steps[s.root].Name)
	}
	s.commit("WORKDIR "+dir, dir != "/")
	return nil
}

// workdir changes the working directory and returns it, with slashes. An absolute
// one stays as it is written, but that Windows has backslashes and no drive.
func (s *stage) workdir(dir string) (string, error) {
	dir, err := system.NormalizeWorkdir(s.config.Config.WorkingDir, dir, s.platform.OS)
	if err != nil {
		return "", err
	}
	s.config.Config.WorkingDir, s.dir = dir, system.ToSlash(dir, s.platform.OS)
	return s.dir, nil
}

// layer notes a layer under the name that BuildKit has for it.
func (s *stage) layer(name string) { s.layers = append(s.layers, name) }

// withShell gives args to the shell in force.
func (s *stage) withShell(args []string) []string {
	sh := s.config.Config.Shell
	switch {
	case len(sh) > 0:
	case s.config.OS == windows:
		sh = []string{"cmd", "/S", "/C"}
	default:
		sh = []string{"/bin/sh", "-c"}
	}
	return append(sh[:len(sh):len(sh)], strings.Join(args, " "))
}

// identify hashes a definition. Every part has its length before it.
func (p *plan) identify(s *Step) ID {
	e := encoder{sha256.New()}
	e.text(fmt.Sprintf("%T", s.Op))
	e.number(len(s.Inputs))
	for _, in := range s.Inputs {
		if in == None {
			e.text("")
			continue
		}
		e.text(string(p.steps[in].ID[:]))
	}
	switch op := s.Op.(type) {
	case Image:
		e.list(op.Reference, string(op.Digest))
		e.platform(op.Platform)
		e.number(len(op.DiffIDs))
		for _, d := range op.DiffIDs {
			e.text(string(d))
		}
	case Context:
		e.text(op.Name)
		e.list(op.Ignore...)
	case HTTP:
		e.list(op.URL, op.Name, op.Checksum)
	case Git:
		e.list(op.Remote, op.Ref, op.Checksum, op.Subdir)
		e.list(fmt.Sprint(op.KeepGitDir), fmt.Sprint(op.NoSubmodules), fmt.Sprint(op.FetchByCommit))
	case Exec:
		e.exec(op)
	case Copy:
		e.list(op.Sources...)
		e.files(op.Files)
		e.list(op.Dest, op.Chown, op.Chmod, fmt.Sprint(op.Unpack), fmt.Sprint(op.Context), fmt.Sprint(op.Literal))
		e.list(op.Exclude...)
		e.list(op.Include...)
		e.list(fmt.Sprint(op.Link), fmt.Sprint(op.KeepTimes), fmt.Sprint(op.Optional))
		e.number(len(op.More))
		for _, m := range op.More {
			e.list(m.Sources...)
			e.list(m.Include...)
			e.list(fmt.Sprint(m.Unpack), fmt.Sprint(m.Context), fmt.Sprint(m.Literal))
		}
	case Mkdir:
		e.list(op.Path, op.User)
	}
	return ID(e.Sum(nil))
}

// encoder writes the parts of a definition.
type encoder struct{ hash.Hash }

func (e encoder) number(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	e.Write(b[:])
}

func (e encoder) text(s string) {
	e.number(len(s))
	e.Write([]byte(s))
}

func (e encoder) list(list ...string) {
	e.number(len(list))
	for _, s := range list {
		e.text(s)
	}
}

func (e encoder) platform(p image.Platform) {
	e.list(p.OS, p.Architecture, p.Variant, p.OSVersion)
	e.list(p.OSFeatures...)
}

func (e encoder) files(files []File) {
	e.number(len(files))
	for _, f := range files {
		e.list(f.Name, string(f.Data), fmt.Sprint(f.Mode))
	}
}

func (e encoder) exec(op Exec) {
	e.list(op.Args...)
	e.list(op.Env...)
	e.list(op.User, op.Dir, op.Hostname)
	e.files(op.Files)
	e.mounts(op.Mounts)
	e.volumes(op.Volumes)
	e.number(int(op.Network))
	e.text(fmt.Sprint(op.Proxied))
	e.text(fmt.Sprint(op.Insecure))
	e.number(int(op.ShmSize))
	e.number(len(op.Hosts))
	for _, h := range op.Hosts {
		e.list(h.Name, h.IP)
	}
	e.number(len(op.Ulimits))
	for _, u := range op.Ulimits {
		e.list(u.Name, fmt.Sprint(u.Soft), fmt.Sprint(u.Hard))
	}
	e.text(fmt.Sprintf("%+v", op.Limits))
	for _, d := range op.Devices {
		e.text(d.String())
	}
	e.platform(op.Platform)
}

// replaced returns text with its variables replaced, or as it is where that is
// not possible. It is for names.
func replaced(lex *shell.Lex, text string, vars env) string {
	word, _, err := lex.ProcessWord(text, vars)
	if err != nil {
		return text
	}
	return word
}

// upper returns text with its first word in capitals.
func upper(text string) string {
	keyword, rest, more := strings.Cut(text, " ")
	if !more {
		return strings.ToUpper(text)
	}
	return strings.ToUpper(keyword) + " " + rest
}
