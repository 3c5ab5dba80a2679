package cli

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"builder/internal/bake"
	"builder/internal/diag"
	"builder/planner"
)

// permit refuses targets that want what the command line does not allow: a file may come
// from elsewhere, and says what is read and written here.
func (f *bakeFlags) permit(s *bake.Selection) error {
	reads, writes, err := f.places()
	if err != nil {
		return err
	}
	var list diag.List
	for _, name := range slices.Sorted(maps.Keys(s.Targets)) {
		t := s.Targets[name]
		for _, e := range t.Entitlements {
			if !slices.ContainsFunc(f.allow, func(a string) bool { return a == e || strings.HasPrefix(e, a+"=") }) {
				list.Add(usage("target %s wants %s", name, e).WithHint("allow it with --allow %s", e))
			}
		}
		for _, path := range bakeReads(t) {
			if !reads.has(path) {
				list.Add(usage("target %s reads %s, which is outside of this directory", name, path).WithHint("allow it with --allow fs.read=%s", path))
			}
		}
		for _, path := range bakeWrites(t) {
			if !writes.has(path) {
				list.Add(usage("target %s writes %s, which is outside of this directory", name, path).WithHint("allow it with --allow fs.write=%s", path))
			}
		}
	}
	return list.Err()
}

// places are directories, in full; nil is everywhere.
type places struct {
	dirs []string
	all  bool
}

// places are where targets may read and write.
func (f *bakeFlags) places() (reads, writes places, err error) {
	here, err := os.Getwd()
	if err != nil {
		return reads, writes, err
	}
	reads.add(here)
	writes.add(here)
	for _, a := range f.allow {
		kind, path, ok := strings.Cut(a, "=")
		if !strings.HasPrefix(kind, "fs") {
			if _, err := parseAllow([]string{a}); err != nil {
				return reads, writes, err
			}
			continue
		}
		if !ok || kind != "fs" && kind != "fs.read" && kind != "fs.write" {
			return reads, writes, usage("--allow: %q is not known", a).WithHint("fs=PATH, fs.read=PATH or fs.write=PATH")
		}
		if kind != "fs.write" {
			reads.add(path)
		}
		if kind != "fs.read" {
			writes.add(path)
		}
	}
	return reads, writes, nil
}

func (p *places) add(dir string) {
	if dir == "*" {
		p.all = true
		return
	}
	p.dirs = append(p.dirs, real(dir))
}

func (p places) has(path string) bool {
	path = real(path)
	return p.all || slices.ContainsFunc(p.dirs, func(dir string) bool {
		rel, err := filepath.Rel(dir, path)
		return err == nil && filepath.IsLocal(rel)
	})
}

// real is a path without symbolic links, as far as it is there.
func real(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	rest := ""
	for dir := abs; ; dir = filepath.Dir(dir) {
		if found, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(found, rest)
		}
		if dir == filepath.Dir(dir) {
			return abs
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// bakeReads are the paths of this machine that a target reads.
func bakeReads(t *bake.Target) []string {
	var all []string
	context := local(*t.Context)
	_, _, remote, err := remoteContext(context)
	if here := err == nil && !remote && context != "-"; here {
		all = append(all, context)
		if file := *t.Dockerfile; t.DockerfileInline == nil && !isURL(file) && !strings.HasPrefix(file, cwdScheme) {
			if !filepath.IsAbs(file) {
				file = filepath.Join(context, file)
			}
			all = append(all, file)
		}
	}
	if rest, ok := strings.CutPrefix(*t.Dockerfile, cwdScheme); ok {
		all = append(all, rest)
	}
	for _, value := range t.Contexts {
		path := local(value)
		if rest, ok := strings.CutPrefix(path, "oci-layout://"); ok {
			path, _, _ = strings.Cut(rest, ":")
		}
		if _, isGit, _ := planner.ParseGit(path); !isGit && !strings.Contains(path, "://") && !strings.HasPrefix(path, "target:") {
			all = append(all, path)
		}
	}
	for _, s := range t.Secrets {
		for _, key := range []string{"src", "source"} {
			if s.Keys[key] != "" {
				all = append(all, s.Keys[key])
			}
		}
	}
	for _, s := range t.SSH {
		for _, value := range s.Keys {
			all = append(all, strings.Split(value, ",")...)
		}
	}
	return all
}

// bakeWrites are the paths of this machine that a target writes.
func bakeWrites(t *bake.Target) []string {
	var all []string
	for _, o := range t.Outputs {
		switch dest := o.Keys["dest"]; {
		case dest != "" && dest != "-":
			all = append(all, dest)
		case o.Keys == nil && o.Word != "" && o.Word != "-":
			all = append(all, o.Word)
		}
	}
	return all
}
