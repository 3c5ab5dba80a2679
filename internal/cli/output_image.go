package cli

import (
	"regexp"
	"strconv"
	"strings"

	"builder/image"
)

// naming is what an output says of the names of an image beyond them.
type naming struct {
	byDigest  bool   // it is pushed without a tag
	canonical bool   // it gets the name with its digest, too
	prefix    string // where it has no name, or besides: this and its digest
	unnamed   bool   // prefix is only for one that has no name
}

// imageKeys are the keys of outputs that are images, as BuildKit has them.
var imageKeys = []string{
	"name", "push", "push-by-digest", "registry.insecure", "unpack", "store", "dangling-name-prefix", "danging-name-empty-only", "name-canonical",
	"oci-mediatypes", "compression", "compression-level", "force-compression", "rewrite-timestamp", "source-date-epoch", "prefer-nondist-layers",
	"oci-artifact", "attestation-inline",
}

// annotationKey is annotation[-KIND][[PLATFORM]].KEY.
var annotationKey = regexp.MustCompile(`^annotation(?:-(manifest|index|manifest-descriptor|index-descriptor))?(?:\[([^\]]*)\])?\.(.+)$`)

// setImage reads one key of an output that is an image. known is false for another one.
func (o *output) setImage(key, value string) (known bool, err error) {
	switch key {
	case "name":
		o.names = append(o.names, strings.Split(value, ",")...)
	case "push":
		return true, parseFlagBool(key, value, &o.push)
	case "push-by-digest":
		return true, parseFlagBool(key, value, &o.named.byDigest)
	case "name-canonical":
		return true, parseFlagBool(key, value, &o.named.canonical)
	case "dangling-name-prefix":
		o.named.prefix = value
		_, err := image.ParseReference(value)
		if err == nil && !tagless(value) {
			return true, usage("--output: %s=%q has a tag, and takes the image's digest", key, value)
		}
		if err != nil {
			return true, usage("--output: %s: %v", key, err)
		}
	case "danging-name-empty-only": // as BuildKit spells it
		return true, parseFlagBool(key, value, &o.named.unnamed)
	case "registry.insecure":
		return true, parseFlagBool(key, value, &o.insecure)
	case "unpack":
		return true, parseFlagBool(key, value, &o.unpack)
	case "store":
		var kept bool
		err := parseFlagBool(key, value, &kept)
		o.unkept = !kept
		return true, err
	case "oci-mediatypes":
		var oci bool
		err := parseFlagBool(key, value, &oci)
		o.form.docker = !oci
		return true, err
	case "compression":
		if _, err := image.ParseCompression(value); err != nil {
			return true, usage("--output: unknown compression %q", value).WithHint("gzip, zstd, estargz or uncompressed")
		}
		o.form.compression = value
	case "compression-level":
		o.form.level, err = strconv.Atoi(value)
		if err != nil || o.form.level < 1 || o.form.level > 22 {
			return true, usage("--output: %s=%q is no level", key, value).WithHint("1 to 9 for gzip and estargz, 1 to 22 for zstd; compression=uncompressed packs nothing")
		}
	case "force-compression":
		return true, parseFlagBool(key, value, &o.form.force)
	case "source-date-epoch":
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds < 0 {
			return true, usage("--output: %s=%q is not a number of seconds", key, value)
		}
		o.epoch = &seconds
	case "rewrite-timestamp":
		return true, fixed(key, value, true, "layers always carry the build's time, or SOURCE_DATE_EPOCH")
	case "prefer-nondist-layers":
		return true, fixed(key, value, false, "every layer can be distributed")
	case "oci-artifact", "attestation-inline":
		return true, fixed(key, value, false, "attestations are not made yet")
	default:
		return o.setAnnotation(key, value)
	}
	return true, nil
}

// fixed reads a key that can only be what it is.
func fixed(key, value string, is bool, why string) error {
	var given bool
	if err := parseFlagBool(key, value, &given); err != nil || given == is {
		return err
	}
	return usage("--output: %s=%s cannot be had", key, value).WithHint("%s", why)
}

func (o *output) setAnnotation(key, value string) (known bool, err error) {
	m := annotationKey.FindStringSubmatch(key)
	if m == nil {
		return false, nil
	}
	kind := m[1]
	if kind == "" {
		kind = "manifest"
	}
	if m[2] != "" {
		kind += "[" + m[2] + "]"
	}
	list, err := parseAnnotations([]string{kind + ":" + m[3] + "=" + value})
	o.annotations = append(o.annotations, list...)
	return true, err
}

// checkNaming refuses what cannot be named so.
func (o *output) checkNaming() error {
	pushes := o.kind == "registry" || o.push
	switch {
	case o.named.canonical && !pushes:
		return usage("--output: name-canonical: an image has a digest once it was pushed").WithHint("add push=true")
	case o.unkept && (o.unpack || o.named.prefix != ""):
		return usage("--output: store=false keeps no image to unpack or to name")
	case o.named.unnamed && o.named.prefix == "":
		return usage("--output: danging-name-empty-only has no meaning without dangling-name-prefix")
	}
	if o.named.byDigest {
		for _, name := range o.names {
			if !tagless(name) {
				return usage("--output: can't push tagged ref %s by digest", name).WithHint("leave the tag out")
			}
		}
	}
	return nil
}
