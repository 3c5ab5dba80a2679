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
	kind  string // store, oci, docker, tar, local, registry, cacheonly
	dest  string // a path; "-" is standard output; empty where kind needs none
	names []string
	tar   bool // kind oci and docker: an archive and not a directory
	push  bool
	form  form
	keys  []string // as they were given
	named naming
	files fileOutput
	// annotations are for this output alone.
	annotations []annotation
	epoch       *int64 // in place of SOURCE_DATE_EPOCH
	insecure    bool   // the registry needs no certificate
	unpack      bool   // the store has the image's files, too
	unkept      bool   // the store does not get the image
}

// form is what the bytes look like.
type form struct {
	docker      bool   // docker's media types
	compression string // gzip, zstd, estargz, uncompressed
	level       int    // 0 is the default
	force       bool   // layers that came packed otherwise are packed anew
}

var outputKinds = []string{"store", "image", "oci", "docker", "tar", "local", "registry", "cacheonly"}

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
		if !strings.HasPrefix(key, "annotation") {
			key = strings.ToLower(key)
		}
		if err := o.set(key, value); err != nil {
			return o, err
		}
		if strings.HasPrefix(key, "annotation") {
			key = "annotation.KEY"
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
		return nil
	case "dest":
		o.dest = value
		return nil
	case "tar":
		return parseFlagBool(key, value, &o.tar)
	case "mode", "platform-split", "src":
		return o.files.set(key, value)
	}
	if known, err := o.setImage(key, value); known || err != nil {
		return err
	}
	keys := append([]string{"type", "dest", "tar", "mode", "platform-split", "src", "annotation.KEY"}, imageKeys...)
	e := usage("--output: unknown key %q", key)
	if near := diag.Nearest(key, keys); near != "" {
		return e.WithHint("did you mean %q?", near)
	}
	return e.WithHint("the keys are %s", strings.Join(keys, ", "))
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
	packed := []string{"compression", "compression-level", "force-compression"}
	image := []string{"type", "name", "annotation.KEY", "rewrite-timestamp", "source-date-epoch", "prefer-nondist-layers", "oci-artifact", "attestation-inline"}
	sent := slices.Concat(packed, []string{"push", "oci-mediatypes", "push-by-digest", "registry.insecure", "name-canonical"})
	kept := []string{"push", "unpack", "store", "dangling-name-prefix", "danging-name-empty-only"}
	switch {
	case o.kind == "oci":
		return slices.Concat(image, packed, []string{"dest", "tar", "oci-mediatypes"})
	case o.kind == "docker" && o.dest != "":
		return slices.Concat(image, packed, []string{"dest", "tar"})
	case o.kind == "docker":
		return []string{"type", "dest", "name", "tar", "source-date-epoch", "rewrite-timestamp"}
	case o.kind == "registry":
		return slices.Concat(image, sent, []string{"store"})
	case o.kind == "store" && o.push:
		return slices.Concat(image, sent, kept)
	case o.kind == "store":
		return slices.Concat(image, kept)
	case o.kind == "cacheonly":
		return []string{"type"}
	case o.kind == "local":
		return []string{"type", "dest", "tar", "mode", "platform-split", "src", "source-date-epoch"}
	default:
		return []string{"type", "dest", "tar", "platform-split", "src", "source-date-epoch"}
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
	if err := o.checkNaming(); err != nil {
		return err
	}
	if c := o.form.compression; o.form.level > 9 && (c == "gzip" || c == "estargz") {
		return usage("--output: compression-level=%d: %s's levels are 1 to 9", o.form.level, c)
	}
	if !o.tar && o.kind != "oci" {
		return usage("--output: tar=false is for type=oci only")
	}
	estargz := o.form.compression == "estargz"
	if estargz && o.form.docker {
		return usage("--output: compression=estargz needs OCI's media types").WithHint("leave oci-mediatypes=false out")
	}
	if o.kind == "docker" {
		o.form.docker = true
	}
	if estargz {
		o.form.docker = false // docker's manifests do not say where a table of contents is
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
