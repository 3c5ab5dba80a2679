package planner

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
)

// String shows the graph to people: each step with what it does and what it
// takes, then the config of the result. The same graph gives the same text.
func (g *Graph) String() string {
	w := &printer{}
	for i := range g.Steps {
		w.step(StepRef(i), &g.Steps[i])
	}
	w.line("result %s", ref(g.Result.Root))
	config, err := json.MarshalIndent(g.Result.Config, "", "  ")
	if err != nil {
		w.line("config: %v", err)
		return w.String()
	}
	w.line("%s", config)
	return w.String()
}

// printer collects lines.
type printer struct{ strings.Builder }

func (w *printer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

func (w *printer) step(at StepRef, s *Step) {
	place := ""
	if !s.Span.IsZero() {
		place = " (" + s.Span.String() + ")"
	}
	w.line("%s %s%s", ref(at), s.Name, place)
	switch op := s.Op.(type) {
	case Image:
		w.line("   image %s %s", op.Reference, platforms.FormatAll(op.Platform))
		w.list("layer", digests(op))
	case Context:
		w.line("   context %s", op.Name)
		w.list("ignore", op.Ignore)
	case HTTP:
		w.line("   http %s", Redact(op.URL))
		w.option("file", op.Name)
		w.option("checksum", op.Checksum)
	case Git:
		w.git(op)
	case Exec:
		w.exec(s, op)
	case Copy:
		w.copy(s, op)
	case Mkdir:
		w.line("   mkdir %s in %s", op.Path, ref(s.Inputs[0]))
		w.option("user", op.User)
	}
	if s.NoCache {
		w.line("   no cache")
	}
}

func (w *printer) git(op Git) {
	w.line("   git %s", op)
	w.option("checksum", op.Checksum)
	if op.KeepGitDir {
		w.line("   keep .git")
	}
	if op.NoSubmodules {
		w.line("   without submodules")
	}
	if op.FetchByCommit {
		w.line("   fetch by commit")
	}
}

func (w *printer) exec(s *Step, op Exec) {
	w.line("   exec in %s", ref(s.Inputs[0]))
	w.list("arg", op.Args)
	w.list("env", op.Env)
	w.list("proxy", op.ProxyEnv)
	w.option("user", op.User)
	w.option("dir", op.Dir)
	w.files(op.Files)
	w.mounts(s, op.Mounts)
	for _, v := range op.Volumes {
		w.option("volume", v.String())
	}
	switch op.Network {
	case NetworkNone:
		w.option("network", "none")
	case NetworkHost:
		w.option("network", "host")
	case NetworkDefault:
	}
	if op.Proxied {
		w.option("network", "proxied")
	}
	if op.Insecure {
		w.option("security", "insecure")
	}
	w.option("hostname", op.Hostname)
	for _, h := range op.Hosts {
		w.option("host", h.Name+" "+h.IP)
	}
	if op.ShmSize > 0 {
		w.option("shm", strconv.FormatInt(op.ShmSize, 10))
	}
	for _, d := range op.Devices {
		w.option("device", d.String())
	}
	if op.Limits != (Limits{}) {
		w.option("limits", fmt.Sprintf("%+v", op.Limits))
	}
	for _, u := range op.Ulimits {
		w.option("ulimit", fmt.Sprintf("%s %d:%d", u.Name, u.Soft, u.Hard))
	}
}

func (w *printer) copy(s *Step, op Copy) {
	from := "files of the recipe"
	if len(s.Inputs) > 1 {
		from = ref(s.Inputs[1])
	}
	w.line("   copy from %s to %s %q", from, ref(s.Inputs[0]), op.Dest)
	w.list("source", op.Sources)
	w.list("include", op.Include)
	for i, m := range op.More {
		w.option("from", ref(s.Inputs[2+i]))
		w.list("source", m.Sources)
		w.list("include", m.Include)
		if m.Unpack {
			w.line("   unpack archives")
		}
	}
	w.list("exclude", op.Exclude)
	w.files(op.Files)
	w.option("chown", op.Chown)
	w.option("chmod", op.Chmod)
	if op.KeepTimes {
		w.line("   keep times")
	}
	if op.Link {
		w.line("   link")
	}
	if op.Optional {
		w.line("   what is there")
	}
	if op.Unpack {
		w.line("   unpack archives")
	}
}

func (w *printer) list(name string, values []string) {
	for _, v := range values {
		w.option(name, v)
	}
}

// option shows a value if there is one, quoted if it could be misread.
func (w *printer) option(name, value string) {
	if value == "" {
		return
	}
	if strings.ContainsFunc(value, func(r rune) bool { return !strconv.IsPrint(r) }) {
		value = strconv.Quote(value)
	}
	w.line("   %s %s", name, value)
}

func (w *printer) files(files []File) {
	for _, f := range files {
		w.line("   file %s %q", f.Name, f.Data)
	}
}

func digests(op Image) []string {
	list := make([]string, len(op.DiffIDs))
	for i, d := range op.DiffIDs {
		list[i] = d.String()
	}
	return list
}

// ref shows a step's number.
func ref(r StepRef) string {
	if r == None {
		return "nothing"
	}
	return "#" + strconv.Itoa(int(r))
}
