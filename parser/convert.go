package parser

import (
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"builder/internal/diag"
)

// convert makes an instruction of what BuildKit's package read.
func convert(parsed any, at Place) (Instruction, *diag.Error) {
	switch c := parsed.(type) {
	case *instructions.RunCommand:
		return run(c, at)
	case *instructions.CopyCommand:
		return copied(c, at)
	case *instructions.AddCommand:
		return added(c, at)
	case *instructions.EnvCommand:
		return &Env{Place: at, Pairs: pairs(c.Env)}, nil
	case *instructions.LabelCommand:
		return &Label{Place: at, Pairs: pairs(c.Labels)}, nil
	case *instructions.ArgCommand:
		args := make([]ArgPair, len(c.Args))
		for i, a := range c.Args {
			args[i] = ArgPair{Name: a.Key, Default: a.Value, Doc: a.DocComment}
		}
		return &Arg{Place: at, Args: args}, nil
	case *instructions.HealthCheckCommand:
		h := c.Health
		return &Healthcheck{
			Place: at, Test: h.Test, Interval: h.Interval, Timeout: h.Timeout,
			StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries,
		}, nil
	case *instructions.CmdCommand:
		return &Cmd{Place: at, Args: c.CmdLine, Shell: c.PrependShell}, nil
	case *instructions.EntrypointCommand:
		return &Entrypoint{Place: at, Args: c.CmdLine, Shell: c.PrependShell}, nil
	case *instructions.ExposeCommand:
		return &Expose{Place: at, Ports: c.Ports}, nil
	case *instructions.VolumeCommand:
		return &Volume{Place: at, Paths: c.Volumes}, nil
	case *instructions.WorkdirCommand:
		return &Workdir{Place: at, Path: c.Path}, nil
	case *instructions.UserCommand:
		return &User{Place: at, Name: c.User}, nil
	case *instructions.StopSignalCommand:
		return &StopSignal{Place: at, Signal: c.Signal}, nil
	case *instructions.ShellCommand:
		return &Shell{Place: at, Args: c.Shell}, nil
	case *instructions.MaintainerCommand:
		return &Maintainer{Place: at, Name: c.Maintainer}, nil
	case *instructions.OnbuildCommand:
		return &OnBuild{Place: at, Trigger: c.Expression}, nil
	}
	return nil, diag.Errorf(at.Span, "%s is not allowed here", strings.ToUpper(at.Keyword))
}

func pairs(kvs instructions.KeyValuePairs) []Pair {
	out := make([]Pair, len(kvs))
	for i, kv := range kvs {
		out[i] = Pair{Name: kv.Key, Value: kv.Value, Legacy: kv.NoDelim}
	}
	return out
}

func run(c *instructions.RunCommand, at Place) (Instruction, *diag.Error) {
	r := &Run{Place: at, Args: c.CmdLine, Shell: c.PrependShell}
	if len(c.FlagsUsed) > 0 {
		r.flags = &runFlags{command: c}
	}
	for _, m := range instructions.GetMounts(c) {
		r.from = append(r.from, m.From)
	}
	if len(c.Files) == 0 {
		return r, nil
	}
	if len(c.CmdLine) != 1 || !c.PrependShell {
		return nil, diag.Errorf(at.Span, "heredocs go with the shell form of RUN only")
	}
	if parser.MustParseHeredoc(c.CmdLine[0]) == nil {
		// The shell handles the heredocs: it gets them as they stand.
		var b strings.Builder
		b.WriteString(c.CmdLine[0])
		for _, f := range c.Files {
			b.WriteString("\n" + f.Data + f.Name)
		}
		r.Args = []string{b.String()}
		return r, nil
	}
	doc := c.Files[0]
	r.Summary = summary(doc.Data)
	if doc.Chomp {
		doc.Data = parser.ChompHeredocContent(doc.Data)
	}
	r.Args = []string{doc.Data}
	if strings.HasPrefix(doc.Data, "#!") {
		r.Script = &Heredoc{Name: doc.Name, Data: doc.Data}
	}
	return r, nil
}

// summary returns the first line of a text, with dots where there are more.
func summary(text string) string {
	line, _, more := strings.Cut(strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n"), "\n")
	if more {
		line += "..."
	}
	return line
}

func copied(c *instructions.CopyCommand, at Place) (Instruction, *diag.Error) {
	return &Copy{
		Place: at, Sources: c.SourcePaths, Files: files(c.SourceContents), Dest: c.DestPath,
		From: c.From, Chown: c.Chown, Chmod: c.Chmod, Exclude: c.ExcludePatterns, Parents: c.Parents, Link: c.Link,
	}, nil
}

func added(c *instructions.AddCommand, at Place) (Instruction, *diag.Error) {
	return &Copy{
		Place: at, Add: true, Unpack: c.Unpack, Checksum: c.Checksum, KeepGitDir: c.KeepGitDir, Sources: c.SourcePaths, Files: files(c.SourceContents), Dest: c.DestPath,
		Chown: c.Chown, Chmod: c.Chmod, Exclude: c.ExcludePatterns, Link: c.Link,
	}, nil
}

func files(contents []instructions.SourceContent) []Heredoc {
	var docs []Heredoc
	for _, c := range contents {
		docs = append(docs, Heredoc{Name: c.Path, Data: c.Data, Expand: c.Expand})
	}
	return docs
}
