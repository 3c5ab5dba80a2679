package recipe

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"
)

// A Case is one file of the corpus.
type Case struct {
	Name string // the file's name without .txtar
	Text []byte // the file
	Options

	Refuse    *regexp.Regexp // not nil: the build must fail so
	Differs   string         // why a difference is expected, if one is
	DiffersIn *regexp.Regexp // which differences are expected; nil: all

	archive *txtar.Archive
}

// Options are those of one build.
type Options struct {
	File        string
	Context     string
	Target      string
	BuildArgs   []string
	Labels      []string
	Contexts    []string
	AddHosts    []string
	Ulimits     []string
	Secrets     []string
	SSH         []string
	Platform    string
	NoCache     bool
	Network     string
	Allow       []string
	Annotations []string
	ShmSize     string
}

// Load reads all cases in dir whose names match, sorted by name.
func Load(dir string, match *regexp.Regexp) ([]*Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var cases []*Case
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		if match != nil && !match.MatchString(name) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		c, err := Parse(name, text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

// Parse reads one case.
func Parse(name string, text []byte) (*Case, error) {
	c := &Case{Name: name, Text: text, archive: txtar.Parse(text)}
	c.File, c.Context = "Dockerfile", "."
	for line := range strings.Lines(string(c.archive.Comment)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%q is neither a comment nor an option", line)
		}
		if err := c.set(key, strings.TrimSpace(value)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Case) set(key, value string) error {
	var err error
	switch key {
	case "file":
		c.File = value
	case "context":
		c.Context = value
	case "target":
		c.Target = value
	case "build-arg":
		c.BuildArgs = append(c.BuildArgs, value)
	case "label":
		c.Labels = append(c.Labels, value)
	case "build-context":
		c.Contexts = append(c.Contexts, value)
	case "add-host":
		c.AddHosts = append(c.AddHosts, value)
	case "ulimit":
		c.Ulimits = append(c.Ulimits, value)
	case "annotation":
		c.Annotations = append(c.Annotations, value)
	case "allow":
		c.Allow = append(c.Allow, value)
	case "secret":
		c.Secrets = append(c.Secrets, value)
	case "ssh":
		c.SSH = append(c.SSH, value)
	case "platform":
		c.Platform = value
	case "no-cache":
		c.NoCache = value == "true"
	case "network":
		c.Network = value
	case "shm-size":
		c.ShmSize = value
	case "refuse":
		c.Refuse, err = regexp.Compile(value)
	case "differs":
		c.Differs = value
	case "differs-in":
		c.DiffersIn, err = regexp.Compile(value)
	default:
		return fmt.Errorf("unknown option %q", key)
	}
	if err != nil {
		return fmt.Errorf("option %s: %w", key, err)
	}
	return nil
}

// Expected reports whether a difference is one that the case declares.
func (c *Case) Expected(difference string) bool {
	return c.Differs != "" && (c.DiffersIn == nil || c.DiffersIn.MatchString(difference))
}
