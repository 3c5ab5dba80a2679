package image

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

const (
	// DefaultDomain is the registry of names that give none.
	DefaultDomain = "docker.io"
	// DefaultTag is the tag of names that give neither tag nor digest.
	DefaultTag = "latest"

	officialPrefix = "library/"
	maxName        = reference.RepositoryNameTotalLengthMax
)

// Reference is the name of an image: a registry's domain, a repository's path in
// it, and a tag, a digest or both. References are comparable; equal ones name the
// same image. The zero Reference names nothing.
//
// There are three kinds: official ("ubuntu", which is docker.io/library/ubuntu),
// a user's ("jpetazzo/clock", which is docker.io/jpetazzo/clock) and those of
// other registries ("localhost:5000/wordpress").
type Reference struct {
	domain, path, tag string
	digest            Digest
}

// ParseReference parses a name as people write it. A name without tag and
// digest gets [DefaultTag]. Digests are sha256. The error says what is wrong
// with s and, where that can be guessed, what was meant.
func ParseReference(s string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil || isID(strings.TrimPrefix(s, "sha256:")) {
		return Reference{}, fmt.Errorf("image name %q: %w", s, explain(s, err))
	}
	r := Reference{domain: reference.Domain(named), path: reference.Path(named)}
	if t, ok := named.(reference.Tagged); ok {
		r.tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		if err := checkDigest(d.Digest()); err != nil {
			return Reference{}, fmt.Errorf("image name %q: %w", s, err)
		}
		r.digest = d.Digest()
	}
	if r.tag == "" && r.digest == "" {
		r.tag = DefaultTag
	}
	if len(r.Name()) > maxName {
		return Reference{}, fmt.Errorf("image name %q: with its registry the name is longer than %d characters", s, maxName)
	}
	return r, nil
}

// Domain returns the registry, such as "docker.io" or "localhost:5000".
func (r Reference) Domain() string { return r.domain }

// Path returns the repository's path in its registry, such as "library/ubuntu".
func (r Reference) Path() string { return r.path }

// Name returns domain and path: the full name of the repository.
func (r Reference) Name() string {
	if r.IsZero() {
		return ""
	}
	return r.domain + "/" + r.path
}

// FamiliarName returns the shortest form of [Reference.Name] that means the same.
func (r Reference) FamiliarName() string {
	if r.domain != DefaultDomain {
		return r.Name()
	}
	first, rest, nested := strings.Cut(r.path, "/")
	switch {
	case nested && first+"/" == officialPrefix && !strings.Contains(rest, "/"):
		if isID(rest) || rest == string(digest.SHA256) {
			return r.Name() // alone it would be taken for an image ID
		}
		return rest
	case nested && (first == "localhost" || strings.Contains(first, ".")):
		// Without docker.io in front the first part would be taken for a domain.
		return r.Name()
	default:
		return r.path
	}
}

// Tag returns the tag, or "" where only a digest is given.
func (r Reference) Tag() string { return r.tag }

// Digest returns the digest, or "" where none is given.
func (r Reference) Digest() Digest { return r.digest }

// IsZero reports whether r names nothing.
func (r Reference) IsZero() bool { return r == Reference{} }

// String returns the full form: domain, path, and what there is of tag and digest.
// Parsing it gives r again.
func (r Reference) String() string { return r.suffixed(r.Name()) }

// Familiar returns the form that people write, without what is the default in
// domain and path. Parsing it gives r again.
func (r Reference) Familiar() string { return r.suffixed(r.FamiliarName()) }

func (r Reference) suffixed(name string) string {
	if r.tag != "" {
		name += ":" + r.tag
	}
	if r.digest != "" {
		name += "@" + string(r.digest)
	}
	return name
}

// WithTag returns r with another tag and no digest.
func (r Reference) WithTag(tag string) (Reference, error) {
	if err := checkTag(tag); err != nil {
		return Reference{}, err
	}
	return Reference{domain: r.domain, path: r.path, tag: tag}, nil
}

// WithDigest returns r, its tag kept, pinned to d.
func (r Reference) WithDigest(d Digest) (Reference, error) {
	if err := checkDigest(d); err != nil {
		return Reference{}, err
	}
	r.digest = d
	return r, nil
}

// WithOnlyDigest returns the repository of r with digest d and no tag.
func (r Reference) WithOnlyDigest(d Digest) (Reference, error) {
	r.tag = ""
	return r.WithDigest(d)
}

// MarshalText implements [encoding.TextMarshaler].
func (r Reference) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Reference) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Reference{}
		return nil
	}
	parsed, err := ParseReference(string(text))
	*r = parsed
	return err
}

// isID reports whether s could be an image ID in full.
func isID(s string) bool { return reference.IdentifierRegexp.FindString(s) == s && s != "" }

// explain says what is wrong with a name that the library has refused with err.
func explain(s string, err error) error {
	switch {
	case s == "":
		return fmt.Errorf("it is empty")
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("it begins or ends with white space")
	case strings.Contains(s, "://"):
		_, rest, _ := strings.Cut(s, "://")
		return fmt.Errorf("it is a URL; a name has no scheme, did you mean %q?", rest)
	case isID(strings.TrimPrefix(s, "sha256:")):
		return fmt.Errorf("it is an image ID, and a name is wanted here")
	}
	name, digestText, pinned := strings.Cut(s, "@")
	if pinned {
		if err := checkDigest(Digest(digestText)); err != nil {
			return err
		}
	}
	// A colon before the last slash belongs to the registry's port.
	path, tag, tagged := name, "", false
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		path, tag, tagged = name[:i], name[i+1:], true
	}
	if tagged {
		if err := checkTag(tag); err != nil {
			return err
		}
		if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
			return fmt.Errorf("it has two tags, %q and %q, and a name has one", path[i+1:], tag)
		}
	}
	if why := explainPath(path, s[len(path):]); why != nil {
		return why
	}
	return err
}

// explainPath looks for the fault in the part of a name before tag and digest.
func explainPath(path, suffix string) error {
	if path == "" {
		return fmt.Errorf("there is no name before %q", suffix)
	}
	parts := strings.Split(path, "/")
	if len(parts) > 1 && (strings.ContainsAny(parts[0], ".:") || parts[0] == "localhost" || strings.ToLower(parts[0]) != parts[0]) {
		if !matches(reference.DomainRegexp.String(), parts[0]) {
			return fmt.Errorf("%q is no registry: a host name, an address or [an IPv6 address], and perhaps a port", parts[0])
		}
		parts = parts[1:]
	}
	if lower := strings.ToLower(strings.Join(parts, "/")); lower != strings.Join(parts, "/") {
		return fmt.Errorf("names are lower case, did you mean %q?", strings.TrimSuffix(path, strings.Join(parts, "/"))+lower+suffix)
	}
	for _, part := range parts {
		if part == "" {
			return fmt.Errorf("it has an empty part between slashes")
		}
		if !matches(`[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`, part) {
			return fmt.Errorf("%q may hold a-z and 0-9, with one '.', one or two '_' or any number of '-' between them", part)
		}
	}
	if len(path) > maxName {
		return fmt.Errorf("the name is longer than %d characters", maxName)
	}
	return nil
}

// matches reports whether all of s matches pattern. It compiles each time: only
// messages about wrong names need it.
func matches(pattern, s string) bool {
	return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(s)
}

func checkTag(tag string) error {
	switch {
	case tag == "":
		return fmt.Errorf("the tag after ':' is empty")
	case len(tag) > 128:
		return fmt.Errorf("the tag is longer than 128 characters")
	case reference.TagRegexp.FindString(tag) != tag:
		return fmt.Errorf("tag %q may hold letters, digits, '_', '.' and '-', and begins with none of '.' and '-'", tag)
	}
	return nil
}

func checkDigest(d Digest) error {
	algorithm, digits, ok := strings.Cut(string(d), ":")
	switch {
	case !ok:
		return fmt.Errorf("digest %q is not of the form sha256:…", d)
	case digest.Algorithm(algorithm) != digest.SHA256:
		return fmt.Errorf("digest %q: algorithm %q is not supported, only sha256 is", d, algorithm)
	case len(digits) != 2*sha256.Size:
		return fmt.Errorf("digest %q has %d digits, not %d", d, len(digits), 2*sha256.Size)
	case d.Validate() != nil:
		return fmt.Errorf("digest %q: digits are 0-9 and a-f", d)
	}
	return nil
}
