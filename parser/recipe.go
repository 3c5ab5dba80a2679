package parser

import (
	"strings"
	"time"

	"builder/internal/diag"
)

// Recipe is a whole Dockerfile.
type Recipe struct {
	File *diag.File
	// Escape is the character that escapes and that continues lines: '\\' or '`'.
	Escape rune
	// Args are the ARG instructions before the first FROM.
	Args   []*Arg
	Stages []*Stage
	// Check is what the check directive says, and CheckSpan its place.
	Check     string
	CheckSpan diag.Span
	// Report is what checks found that need no more than the text.
	Report Report
}

// Stage is FROM and what follows it up to the next FROM.
type Stage struct {
	Place
	Base     string // as written, with variables: an image, a stage or "scratch"
	Name     string // lower case; empty where FROM gives none
	Platform string // as written, with variables
	Doc      string // what a comment above says of it
	// Instructions are in the order of the text.
	Instructions []Instruction
}

// Place is where an instruction stands and how it reads.
type Place struct {
	// Span is the whole instruction, its heredocs included. A trigger of a base
	// image has that of the FROM which runs it.
	Span diag.Span
	// Keyword is the instruction's name as written.
	Keyword string
	// Text is the instruction on one line, without heredocs.
	Text string
	// Comments are the comments right above it, one line each.
	Comments []string
	// Escape is the escape character of its file, or 0 where it is in none.
	Escape rune
}

// Source returns the place itself; it is what instructions have in common.
func (p *Place) Source() *Place { return p }

// Find returns the span of the first occurrence of word in the instruction
// after its keyword, or the whole instruction where word does not occur on one
// line. It is for messages.
func (p *Place) Find(word string) diag.Span { return p.findNth(word, 0) }

// findNth is Find for another than the first occurrence: n counts from 0, on
// all lines.
func (p *Place) findNth(word string, n int) diag.Span {
	if p.Span.File == nil || word == "" {
		return p.Span
	}
	line := 0
	for text := range strings.Lines(p.Span.File.Text) {
		line++
		if line < p.Span.Start.Line {
			continue
		}
		if line > p.Span.End.Line {
			break
		}
		from := 0
		if line == p.Span.Start.Line {
			from = min(p.Span.Start.Column-1+len(p.Keyword), len(text))
		}
		for !strings.Contains(word, "\n") {
			i := strings.Index(text[from:], word)
			if i < 0 {
				break
			}
			column := from + i + 1
			if n--; n < 0 {
				return diag.Span{File: p.Span.File, Start: diag.Pos{Line: line, Column: column}, End: diag.Pos{Line: line, Column: column + len(word)}}
			}
			from += i + len(word)
		}
	}
	return p.Span
}

// FindFlag is like [Place.Find] for the value of a flag, such as "--from".
func (p *Place) FindFlag(flag, value string) diag.Span {
	s := p.Find(flag + "=" + value)
	if value != "" && s != p.Span {
		s.Start.Column += len(flag) + 1
	}
	return s
}

// Instruction is one of [Arg], [Cmd], [Copy], [Entrypoint], [Env], [Expose],
// [Healthcheck], [Label], [Maintainer], [OnBuild], [Run], [Shell],
// [StopSignal], [User], [Volume], [Workdir], by pointer. Strings are as written:
// variables and quotes are still in them where the planner replaces them.
type Instruction interface {
	Source() *Place
	instruction()
}

// Pair is a name with its value.
type Pair struct {
	Name, Value string
	Legacy      bool `json:",omitempty"` // written without "="
}

// Arg is ARG.
type Arg struct {
	Place
	Args []ArgPair
}

// ArgPair is a build argument with its default; nil is none.
type ArgPair struct {
	Name    string
	Default *string
	Doc     string `json:",omitempty"` // what a comment above says of it
}

// Env is ENV.
type Env struct {
	Place
	Pairs []Pair
}

// Label is LABEL.
type Label struct {
	Place
	Pairs []Pair
}

// Run is RUN.
type Run struct {
	Place
	// Args is the command. For a shell it is one string, heredocs included as the
	// shell reads them; where the command is nothing but one heredoc, it is the
	// heredoc's content.
	Args  []string
	Shell bool // Args is for the shell, not for execve
	// Script is the heredoc where it is the whole command and starts with "#!";
	// then the command is the path at which the script is shown.
	Script *Heredoc
	// Summary stands for the heredoc in names: its first line.
	Summary string

	flags *runFlags
	from  []string // of each mount, as written
}

// Heredoc is text in a recipe that stands for a file.
type Heredoc struct {
	Name string
	Data string // tabs are already removed where "<<-" asks for it
	// Expand says that variables in Data are replaced.
	Expand bool
}

// Copy is COPY and ADD.
type Copy struct {
	Place
	Add     bool
	Sources []string
	Files   []Heredoc
	Dest    string
	// Unpack is what ADD --unpack says; nil unpacks local archives alone.
	Unpack *bool
	// Checksum is of ADD's one URL or commit. KeepGitDir is what --keep-git-dir says; nil where it is not given.
	Checksum   string
	KeepGitDir *bool
	From       string // stage, number of a stage or image; empty is the build context
	Chown      string
	Chmod      string
	// Exclude are patterns of what stays behind; no variables are replaced in them.
	Exclude []string
	// Parents says that the directories above a source are copied too.
	Parents bool
	// Optional says that sources which are not there are left out.
	Optional bool
	// Link says that the copy does not look at what it is copied onto.
	Link bool
}

// Cmd is CMD.
type Cmd struct {
	Place
	Args  []string
	Shell bool
}

// Entrypoint is ENTRYPOINT.
type Entrypoint struct {
	Place
	Args  []string // nil where it is empty
	Shell bool
}

// Healthcheck is HEALTHCHECK. Test is {"NONE"}, {"CMD", argument…} or
// {"CMD-SHELL", command}; what is zero is inherited.
type Healthcheck struct {
	Place
	Test                                          []string
	Interval, Timeout, StartPeriod, StartInterval time.Duration
	Retries                                       int
}

// Expose is EXPOSE; the ports are sorted.
type Expose struct {
	Place
	Ports []string
}

// Volume is VOLUME.
type Volume struct {
	Place
	Paths []string
}

// Workdir is WORKDIR.
type Workdir struct {
	Place
	Path string
}

// User is USER.
type User struct {
	Place
	Name string
}

// StopSignal is STOPSIGNAL.
type StopSignal struct {
	Place
	Signal string
}

// Shell is SHELL.
type Shell struct {
	Place
	Args []string
}

// Maintainer is MAINTAINER.
type Maintainer struct {
	Place
	Name string
}

// OnBuild is ONBUILD. Trigger is the instruction for the recipes that build on
// the image, heredocs included; [ParseTrigger] reads it.
type OnBuild struct {
	Place
	Trigger string
}

func (*Arg) instruction()         {}
func (*Cmd) instruction()         {}
func (*Copy) instruction()        {}
func (*Entrypoint) instruction()  {}
func (*Env) instruction()         {}
func (*Expose) instruction()      {}
func (*Healthcheck) instruction() {}
func (*Label) instruction()       {}
func (*Maintainer) instruction()  {}
func (*OnBuild) instruction()     {}
func (*Run) instruction()         {}
func (*Shell) instruction()       {}
func (*StopSignal) instruction()  {}
func (*User) instruction()        {}
func (*Volume) instruction()      {}
func (*Workdir) instruction()     {}
