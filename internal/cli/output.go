package cli

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"builder/internal/diag"
)

// output is one --output: where the image goes and in which form.
type output struct {
	kind  string // store, oci, docker, tar, local, registry
	dest  string // a path; "-" is standard output; empty where kind needs none
	names []string
	tar   bool // kind oci and docker: an archive and not a directory
	push  bool
	form  form
	keys  []string // as they were given
}

// form is what the bytes look like.
type form struct {
	docker      bool   // docker's media types
	compression string // gzip, zstd, uncompressed
	level       int
}

var outputKinds = []string{"store", "image", "oci", "docker", "tar", "local", "registry"}

// parseOutput reads one --output: a comma-separated list of key=value, or a
// directory, or "-" for a tar on standard output.
func parseOutput(text string) (output, error) {
	o := output{tar: true, form: form{compression: "gzip"}}
	if text == "-" {
		o.kind, o.dest = "tar", "-"
		return o, nil
	}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return o, usage("--output: %q: %v", text, err)
	}
	if len(fields) == 1 && !strings.HasPrefix(fields[0], "type=") {
		o.kind, o.dest = "local", fields[0]
		return o, nil
	}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return o, usage("--output: %q is not key=value", field).WithHint("write --output type=oci,dest=image.tar")
		}
		key = strings.ToLower(key)
		if err := o.set(key, value); err != nil {
			return o, err
		}
		o.keys = append(o.keys, key)
	}
	return o, o.check(text)
}

func (o *output) set(key, value string) error {
	switch key {
	case "type":
		if !slices.Contains(outputKinds, value) {
			e := usage("--output: unknown type %q", value)
			if near := diag.Nearest(value, outputKinds); near != "" {
				return e.WithHint("did you mean %q?", near)
			}
			return e.WithHint("the types are %s", strings.Join(outputKinds, ", "))
		}
		o.kind = value
		if value == "image" {
			o.kind = "store"
		}
	case "dest":
		o.dest = value
	case "name":
		o.names = append(o.names, strings.Split(value, ",")...)
	case "tar":
		return parseFlagBool(key, value, &o.tar)
	case "push":
		return parseFlagBool(key, value, &o.push)
	case "oci-mediatypes":
		var oci bool
		err := parseFlagBool(key, value, &oci)
		o.form.docker = !oci
		return err
	case "compression":
		if !slices.Contains([]string{"gzip", "zstd", "uncompressed"}, value) {
			return usage("--output: unknown compression %q", value).WithHint("gzip, zstd or uncompressed")
		}
		o.form.compression = value
	default:
		keys := []string{"type", "dest", "name", "tar", "push", "oci-mediatypes", "compression"}
		e := usage("--output: unknown key %q", key)
		if near := diag.Nearest(key, keys); near != "" {
			return e.WithHint("did you mean %q?", near)
		}
		return e.WithHint("the keys are %s", strings.Join(keys, ", "))
	}
	return nil
}

func parseFlagBool(key, value string, to *bool) error {
	switch value {
	case "true", "1", "":
		*to = true
	case "false", "0":
		*to = false
	default:
		return usage("--output: %s=%q is neither true nor false", key, value)
	}
	return nil
}

// meaning lists the keys that mean something for an output.
func (o *output) meaning() []string {
	switch {
	case o.kind == "oci":
		return []string{"type", "dest", "name", "tar", "oci-mediatypes", "compression"}
	case o.kind == "docker" && o.dest != "":
		return []string{"type", "dest", "name", "tar", "compression"}
	case o.kind == "docker":
		return []string{"type", "dest", "name", "tar"}
	case o.kind == "registry", o.kind == "store" && o.push:
		return []string{"type", "dest", "name", "push", "oci-mediatypes", "compression"}
	case o.kind == "store":
		return []string{"type", "dest", "name", "push"}
	default:
		return []string{"type", "dest", "tar"}
	}
}

// check refuses what a type cannot do.
func (o *output) check(text string) error {
	if o.kind == "" {
		return usage("--output: %q has no type", text).WithHint("write --output type=oci,dest=image.tar")
	}
	for _, key := range o.keys {
		if !slices.Contains(o.meaning(), key) {
			e := usage("--output: type=%s takes no %s", o.kind, key)
			if o.kind == "store" {
				return e.WithHint("layers are packed when they leave the machine: add push=true")
			}
			return e.WithHint("its keys are %s", strings.Join(o.meaning(), ", "))
		}
	}
	if o.kind == "local" && (o.dest == "" || o.dest == "-") {
		return usage("--output: type=local needs dest=DIRECTORY")
	}
	if (o.kind == "store" || o.kind == "registry") && o.dest != "" {
		return usage("--output: type=%s takes no dest", o.kind)
	}
	if !o.tar && o.kind != "oci" {
		return usage("--output: tar=false is for type=oci only")
	}
	if o.kind == "docker" {
		o.form.docker = true
	}
	if o.dest == "" && (o.kind == "oci" || o.kind == "tar") {
		o.dest = "-"
	}
	if o.tar && o.dest != "" && o.dest != "-" && o.kind != "local" {
		return checkFile(o.dest)
	}
	return nil
}

// checkFile refuses, before anything is built, a file that cannot be written.
func checkFile(dest string) error {
	if fi, err := os.Stat(dest); err == nil && fi.IsDir() {
		return usage("--output: %q is a directory, and the output is a file", dest).WithHint("give dest a file's name")
	}
	dir := filepath.Dir(dest)
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		return usage("--output: the directory %q is not there", dir).WithHint("mkdir -p %s", dir)
	}
	return nil
}
