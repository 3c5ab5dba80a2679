package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"builder/image"
	"builder/internal/bake"
	"builder/internal/diag"
)

// bakeFlags are the flags of bake as they were typed.
type bakeFlags struct {
	files, vars, set, allow  []string
	print, push, load, check bool
	list, call, metadataFile string
	provenance, sbom         string
	noCache                  bool
	pull                     choice
	progress                 choice
	jobs                     int
}

func newBake(g *globals) *cobra.Command {
	f := &bakeFlags{
		pull:     choice{value: "", words: []string{"always", "missing", "never", "true", "false"}},
		progress: choice{value: "auto", words: progressModes},
	}
	cmd := &cobra.Command{
		Use:     "bake [OPTIONS] [TARGET...]",
		Short:   "Build what files of targets say",
		Example: "  builder bake -f docker-bake.hcl --set '*.platform=linux/arm64' app",
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), g, args) },
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.files, "file", "f", nil, "file of targets: HCL, JSON or compose (repeatable; - is standard input; default compose.yaml, docker-bake.json, docker-bake.hcl and their kin)")
	fl.StringArrayVar(&f.set, "set", nil, "say something else of targets, as PATTERN.KEY[.NAME]=VALUE; += adds to a list")
	fl.StringArrayVar(&f.vars, "var", nil, "give a variable of the files a value, as NAME=VALUE")
	fl.BoolVar(&f.print, "print", false, "show what would be built, as JSON, and build nothing")
	fl.StringVar(&f.list, "list", "", "list targets or variables, with ,format=json for programs")
	fl.StringVar(&f.call, "call", "", "what to do in place of a build: check, outline or targets")
	fl.BoolVar(&f.check, "check", false, "the same as --call=check")
	fl.StringArrayVar(&f.allow, "allow", nil, "what targets may have: network.host, security.insecure, device[=NAME], fs[.read|.write]=PATH outside of this directory; fs=* is all of it")
	fl.BoolVar(&f.noCache, "no-cache", false, "run every step again")
	fl.Var(&f.pull, "pull", "ask the registry for bases: always, missing or never")
	fl.Lookup("pull").NoOptDefVal = "always"
	fl.BoolVar(&f.push, "push", false, "push the targets' tags")
	fl.BoolVar(&f.load, "load", false, "keep the images in the store beside other outputs")
	fl.Var(&f.progress, "progress", "how to show progress: "+strings.Join(progressModes, ", "))
	fl.StringVar(&f.metadataFile, "metadata-file", "", "write the digests of the results to this file, as JSON")
	fl.StringVar(&f.provenance, "provenance", "", "false: no attestation of how images were made; others are not made yet")
	fl.StringVar(&f.sbom, "sbom", "", "false: no list of what images consist of; others are not made yet")
	fl.Lookup("provenance").NoOptDefVal, fl.Lookup("sbom").NoOptDefVal = "true", "true"
	fl.IntVar(&f.jobs, "jobs", 0, "how many steps of a target run at the same time")
	g.tlsFlag(cmd)
	return cmd
}

func (f *bakeFlags) run(ctx context.Context, g *globals, names []string) error {
	files, err := f.read(g)
	if err != nil {
		return err
	}
	vars, err := pairs("--var", f.vars, os.LookupEnv)
	if err != nil {
		return err
	}
	d, err := bake.Read(files, bake.Options{Env: os.LookupEnv, Vars: vars, Builtin: map[string]string{
		"BAKE_CMD_CONTEXT": "cwd://", "BAKE_LOCAL_PLATFORM": image.FormatPlatform(image.DefaultPlatform()),
	}})
	if err != nil {
		return err
	}
	if f.list != "" {
		return f.printList(g.out, d)
	}
	selected, err := d.Select(names, f.overrides())
	if err != nil {
		return err
	}
	if f.print {
		text, err := selected.JSON()
		if err == nil {
			_, err = g.out.Write(text)
		}
		return err
	}
	if err := f.permit(selected); err != nil {
		return err
	}
	if err := g.enter(); err != nil {
		return err
	}
	return f.build(ctx, g, selected)
}

// overrides are --set and the flags that are short for it.
func (f *bakeFlags) overrides() []string {
	all := f.set
	if f.noCache {
		all = append(all, "*.no-cache=true")
	}
	switch f.pull.value {
	case "always", "true":
		all = append(all, "*.pull=true")
	case "missing", "false":
		all = append(all, "*.pull=false")
	}
	if f.push {
		all = append(all, "*.push=true")
	}
	if f.load {
		all = append(all, "*.load=true")
	}
	return all
}

// bakeFiles are those that are looked for where none is named, each if it is there.
var bakeFiles = []string{
	"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml",
	"docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl",
}

// read reads the files. A stranger's file is as long as a recipe may be.
func (f *bakeFlags) read(g *globals) ([]*diag.File, error) {
	names := f.files
	if len(names) == 0 {
		compose := false
		for _, name := range bakeFiles {
			if _, err := os.Stat(name); err != nil || compose && strings.Contains(name, "compose") {
				continue
			}
			compose = compose || strings.Contains(name, "compose")
			names = append(names, name)
		}
		if len(names) == 0 {
			return nil, usage("there is no file of targets here").WithHint("name one with -f; these are looked for: %s", strings.Join(bakeFiles, ", "))
		}
	}
	var files []*diag.File
	for _, name := range names {
		file, err := f.readOne(g, name)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func (f *bakeFlags) readOne(g *globals, name string) (*diag.File, error) {
	if isURL(name) || strings.Contains(name, "://") && !strings.HasPrefix(name, "cwd://") {
		return nil, usage("-f: %q: files of targets are read from this machine only", name).WithHint("fetch it, and name it then")
	}
	if name == "-" {
		return readRecipe("-", g.in)
	}
	path := strings.TrimPrefix(name, "cwd://")
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usage("-f: %q is not there", path)
	}
	if err != nil {
		return nil, err
	}
	file, err := readRecipe(path, in)
	return file, errors.Join(err, in.Close())
}

// printList answers --list.
func (f *bakeFlags) printList(w io.Writer, d *bake.Definition) error {
	what, format := "", "table"
	for field := range strings.SplitSeq(f.list, ",") {
		key, value, ok := strings.Cut(field, "=")
		switch {
		case !ok:
			what = key
		case key == "type":
			what = value
		case key == "format" && (value == "json" || value == "table"):
			format = value
		default:
			return usage("--list: %q is not known", field).WithHint("targets or variables, and format=json")
		}
	}
	var rows [][]string
	var all any
	switch what {
	case "targets":
		rows = append(rows, []string{"TARGET", "DESCRIPTION"})
		list := d.List()
		for _, l := range list {
			text := l.Description
			if l.Group && text == "" {
				text = strings.Join(l.Targets, ", ")
			}
			rows = append(rows, []string{l.Name, text})
		}
		all = list
	case "variables":
		rows = append(rows, []string{"VARIABLE", "TYPE", "VALUE", "DESCRIPTION"})
		type variable struct {
			Name        string `json:"name"`
			Type        string `json:"type,omitempty"`
			Value       string `json:"value,omitempty"`
			Description string `json:"description,omitempty"`
		}
		list := []variable{}
		for _, v := range d.Variables {
			rows = append(rows, []string{v.Name, v.Type, v.Value, v.Description})
			list = append(list, variable{v.Name, v.Type, v.Value, v.Description})
		}
		all = list
	default:
		return usage("--list: %q is not known", what).WithHint("targets or variables, and format=json")
	}
	if format == "table" {
		return table(w, rows)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(all)
}

// build builds targets, each as soon as those that it is made of are done. What is asked of a
// target in place of a build is answered after those, one by one.
func (f *bakeFlags) build(ctx context.Context, g *globals, s *bake.Selection) error {
	view := newDisplay(f.progress.value, g.err)
	parts := newParts(s, view)
	names := slices.Sorted(maps.Keys(s.Targets))
	names = slices.DeleteFunc(names, func(name string) bool { return f.callOf(s.Targets[name]) != "" && !neededBy(s, name) })
	err := f.buildAll(ctx, g, s, parts, names)
	for _, name := range s.Names {
		if call := f.callOf(s.Targets[name]); call != "" && err == nil {
			err = f.buildOne(ctx, g, s, &bakePart{name: name, needs: parts[name].needs, shared: view}, call)
		}
	}
	if err := errors.Join(err, view.Close()); err != nil || f.metadataFile == "" {
		return err
	}
	meta := map[string]any{}
	for _, name := range s.Names {
		meta[name] = parts[name].metadata
	}
	return writeMetadataFile(f.metadataFile, meta)
}

// newParts returns a part for each target, joined to those that it is made of.
func newParts(s *bake.Selection, view display) map[string]*bakePart {
	parts := map[string]*bakePart{}
	for name := range s.Targets {
		parts[name] = &bakePart{name: name, needs: map[string]*bakePart{}, shared: view, finished: make(chan struct{})}
	}
	for name, t := range s.Targets {
		for called, on := range t.Needs() {
			parts[name].needs[called] = parts[on]
		}
	}
	return parts
}

// neededBy reports whether a target is what another one is made of.
func neededBy(s *bake.Selection, name string) bool {
	for _, t := range s.Targets {
		for _, on := range t.Needs() {
			if on == name {
				return true
			}
		}
	}
	return false
}

// buildAll builds targets, which include all that they are made of. The first that fails ends all.
func (f *bakeFlags) buildAll(ctx context.Context, g *globals, s *bake.Selection, parts map[string]*bakePart, names []string) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, name := range names {
		group.Go(func() error {
			part := parts[name]
			defer close(part.finished)
			for _, on := range part.needs {
				select {
				case <-on.finished:
				case <-gctx.Done():
					return context.Cause(gctx)
				}
			}
			err := context.Cause(gctx)
			if err == nil {
				err = f.buildOne(gctx, g, s, part, "")
			}
			if err != nil && len(s.Targets) > 1 {
				err = fmt.Errorf("target %s: %w", name, err)
			}
			return err
		})
	}
	return group.Wait()
}

// callOf is what is asked of a target in place of a build; empty where it is built.
func (f *bakeFlags) callOf(t *bake.Target) string {
	switch {
	case f.check:
		return "check"
	case f.call != "":
		return strings.TrimPrefix(f.call, "build")
	case t.Call != nil:
		return strings.TrimPrefix(*t.Call, "build")
	default:
		return ""
	}
}

// buildOne builds a target, or answers what is asked of it. In front of answers nothing goes out.
func (f *bakeFlags) buildOne(ctx context.Context, g *globals, s *bake.Selection, part *bakePart, call string) error {
	t := s.Targets[part.name]
	b, contextArg, err := f.flags(t, part, call, slices.Contains(s.Names, part.name) && (call != "" || f.callOf(t) == ""))
	if err != nil {
		return err
	}
	own := *g
	if t.DockerfileInline != nil {
		in, err := inMemory(*t.DockerfileInline)
		if err != nil {
			return err
		}
		defer in.Close()
		streams := *g.streams
		streams.in = in
		own.streams = &streams
		b.file = "-"
	}
	if call != "" && len(s.Names) > 1 {
		fmt.Fprintf(g.out, "# %s\n", part.name)
	}
	return runBuild(ctx, &own, b, contextArg)
}
