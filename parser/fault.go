package parser

import (
	"errors"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"builder/internal/diag"
)

// Keywords are the instructions of the language.
func Keywords() []string {
	return []string{
		"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
		"RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
	}
}

// Flags are the flags that an instruction takes, with their dashes.
func Flags(keyword string) []string {
	switch strings.ToUpper(keyword) {
	case "FROM":
		return []string{"--platform"}
	case "RUN":
		return []string{"--mount", "--network", "--security", "--device"}
	case "COPY":
		return []string{"--from", "--chown", "--chmod", "--link", "--parents", "--exclude"}
	case "ADD":
		return []string{"--chown", "--chmod", "--link", "--exclude", "--checksum", "--keep-git-dir", "--unpack"}
	case "HEALTHCHECK":
		return []string{"--interval", "--timeout", "--start-period", "--start-interval", "--retries"}
	}
	return nil
}

// fault turns an error of BuildKit's packages into one with a place and a
// remedy. Their suggestions are dropped: ours come as hints.
func (r *reader) fault(err error, at Place) *diag.Error {
	var unknown *instructions.UnknownInstructionError
	if errors.As(err, &unknown) {
		e := diag.Errorf(r.find(at.Span.Start.Line, unknown.Instruction), "unknown instruction %q", unknown.Instruction)
		if near := diag.Nearest(strings.ToUpper(unknown.Instruction), Keywords()); near != "" {
			return e.WithHint("did you mean %q?", near)
		}
		return e
	}
	message := cause(err)
	if flag, ok := strings.CutPrefix(message, "unknown flag: "); ok {
		flag, _, _ = strings.Cut(flag, " (did you mean")
		return unknownFlag(flag, at)
	}
	for _, prefix := range []string{"duplicate flag specified: ", "missing a value on flag: "} {
		if flag, ok := strings.CutPrefix(message, prefix); ok {
			return diag.Errorf(at.Find(flag), "%s%s", prefix, flag)
		}
	}
	e := diag.Errorf(at.Span, "%s", printable(message))
	for _, h := range hints() {
		if strings.Contains(message, h.of) {
			return e.WithHint("%s", h.text)
		}
	}
	return e
}

// hint is a remedy for the messages that contain of.
type hint struct{ of, text string }

func hints() []hint {
	return []hint{
		{"FROM requires either", "write FROM image, or FROM image AS name"},
		{"invalid name for build stage", "names begin with a letter and go on with letters, digits, \"-\", \"_\" and \".\"; they hold no variables"},
		{"ENV must have two", "write ENV NAME=value"},
		{"LABEL must have two", "write LABEL name=value"},
		{"can't find = in", "put values with spaces into quotes"},
		{"comprised of strings only", "put every element into double quotes"},
		{"SHELL requires the arguments", "write SHELL [\"/bin/bash\", \"-c\"]"},
		{"requires at least two arguments", "the last argument is where to copy to"},
		{"WORKDIR requires exactly", "WORKDIR takes one directory"},
		{"Missing command after HEALTHCHECK", "write HEALTHCHECK CMD command, or HEALTHCHECK NONE"},
		{"cannot be less than", "write a duration such as 30s or 5m"},
		{"time: ", "write a duration such as 30s or 5m"},
	}
}

// printable returns text that a terminal shows as it is.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

func unknownFlag(flag string, at Place) *diag.Error {
	e := diag.Errorf(at.Find(flag), "unknown flag %q", flag)
	known := Flags(at.Keyword)
	switch near := diag.Nearest(flag, known); {
	case near != "":
		return e.WithHint("did you mean %q?", near)
	case len(known) == 0:
		return e.WithHint("%s takes no flags", strings.ToUpper(at.Keyword))
	default:
		return e.WithHint("%s takes %s", strings.ToUpper(at.Keyword), strings.Join(known, ", "))
	}
}

// cause returns the message of err without the places around it.
func cause(err error) string {
	var located *parser.LocationError
	if errors.As(err, &located) {
		if inner := located.Unwrap(); inner != nil {
			err = inner
		}
	}
	message := err.Error()
	if i := strings.LastIndex(message, " (did you mean "); i >= 0 && strings.HasSuffix(message, "?)") && !strings.HasPrefix(message, "unknown flag: ") {
		message = message[:i]
	}
	return strings.ReplaceAll(message, "\n", " ")
}
