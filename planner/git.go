package planner

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ParseGit reads the URL of a repository as recipes and commands have it: a URL
// with git or ssh, or with http or https where its path ends in ".git", or
// user@host:path; then "#ref:directory" or a query. ok says that the text is such
// a URL, even if there is an error in it.
func ParseGit(text string) (op Git, ok bool, err error) {
	if strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") {
		return op, false, nil
	}
	scheme, _, found := strings.Cut(text, "://")
	var fragment string
	var query url.Values
	switch {
	case found && scheme != "" && !strings.ContainsFunc(scheme, notAlphanumeric):
		u, err := url.Parse(text)
		if err != nil || !overGit(u) {
			return op, false, nil //nolint:nilerr // then it is a path, or no URL of a repository
		}
		fragment, query = u.Fragment, u.Query()
		bare := *u
		bare.Fragment, bare.RawFragment, bare.RawQuery = "", "", ""
		op.Remote = bare.String()
	default:
		m := scpForm.FindStringSubmatch(text)
		if m == nil {
			return op, false, nil
		}
		if query, err = url.ParseQuery(m[4]); err != nil {
			return op, true, fmt.Errorf("invalid query in scp-style url: %w", err)
		}
		op.Remote, fragment = m[1]+"@"+m[2]+":"+m[3], m[5]
	}
	if fragment != "" {
		var dir string
		op.Ref, dir, _ = strings.Cut(fragment, ":")
		op.Subdir = strings.TrimPrefix(path.Join("/", dir), "/")
	}
	if err := op.query(query); err != nil {
		return op, true, err
	}
	return op, true, op.safe()
}

// scpForm is a repository as scp(1) writes paths: user@host:path.
var scpForm = regexp.MustCompile(`^([a-zA-Z0-9-_]+)@([a-zA-Z0-9-.]+):(.*?)(?:\?(.*?))?(?:#(.*))?$`)

// overGit reports whether a URL is that of a repository.
func overGit(u *url.URL) bool {
	switch u.Scheme {
	case "git", "ssh":
		return true
	case "http", "https":
		return strings.HasSuffix(u.Path, ".git")
	default:
		return false
	}
}

// safe refuses what the programs that are run could take for a flag or for
// another command.
func (g *Git) safe() error {
	host, user := "", ""
	if m := scpForm.FindStringSubmatch(g.Remote); m != nil && !strings.Contains(g.Remote, "://") {
		user, host = m[1], m[2]
	} else if u, err := url.Parse(g.Remote); err == nil {
		user, host = u.User.Username(), u.Hostname()
	}
	if host == "" {
		return fmt.Errorf("git URL has no host")
	}
	for _, part := range [][2]string{{"user", user}, {"host", host}, {"ref", g.Ref}, {"checksum", g.Checksum}, {"remote", g.Remote}} {
		if strings.HasPrefix(part[1], "-") || strings.ContainsFunc(part[1], func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("git URL has a %s %q, which is none", part[0], part[1])
		}
	}
	if strings.ContainsRune(g.Subdir, 0) {
		return fmt.Errorf("git URL has a directory %q, which is none", g.Subdir)
	}
	if g.Checksum != "" && strings.Trim(g.Checksum, "0123456789abcdefABCDEF") != "" {
		return fmt.Errorf("invalid checksum %s for Git URL, expected hex commit hash", g.Checksum)
	}
	return nil
}

// query reads the parameters of a git URL.
func (g *Git) query(query url.Values) error {
	one := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(query)) {
		values := query[key]
		if len(values) > 1 {
			return fmt.Errorf("query %q has multiple values", key)
		}
		one[key] = values[0]
		if values[0] == "" && key != "submodules" && key != "keep-git-dir" && key != "fetch-by-commit" {
			return fmt.Errorf("query %q has no value", key)
		}
	}
	if err := g.refs(one); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(one)) {
		if err := g.parameter(key, one[key]); err != nil {
			return err
		}
	}
	return nil
}

// refs reads the parameters that say which ref is meant.
func (g *Git) refs(query map[string]string) error {
	tag, branch := query["tag"], query["branch"]
	if tag != "" && branch != "" {
		return fmt.Errorf("branch conflicts with tag")
	}
	if tag != "" && !strings.HasPrefix(tag, "refs/tags/") {
		tag = "refs/tags/" + tag
	}
	if branch != "" && !strings.HasPrefix(branch, "refs/heads/") {
		branch = "refs/heads/" + branch
	}
	for _, ref := range []string{query["ref"], tag, branch} {
		if ref == "" {
			continue
		}
		if g.Ref != "" && g.Ref != ref {
			return fmt.Errorf("ref conflicts: %q vs %q", g.Ref, ref)
		}
		g.Ref = ref
	}
	return nil
}

// parameter reads one of the others.
func (g *Git) parameter(key, value string) error {
	var err error
	switch key {
	case "ref", "tag", "branch":
	case "subdir":
		if g.Subdir != "" && g.Subdir != value {
			return fmt.Errorf("subdir conflicts: %q vs %q", g.Subdir, value)
		}
		g.Subdir = strings.TrimPrefix(path.Join("/", value), "/")
	case "checksum", "commit":
		g.Checksum = value
	case "keep-git-dir":
		g.KeepGitDir, err = claim(key, value)
		g.keepGiven = true
	case "submodules":
		var with bool
		with, err = claim(key, value)
		g.NoSubmodules = !with
	case "fetch-by-commit":
		g.FetchByCommit, err = claim(key, value)
	case "mtime":
		// Whatever times the files have: a layer's are its stamp.
		if value != "checkout" && value != "commit" {
			err = fmt.Errorf("invalid mtime value: %q (must be \"checkout\" or \"commit\")", value)
		}
	default:
		err = fmt.Errorf("unexpected query %q", key)
	}
	return err
}

// claim is the value of a parameter that is true where it has none.
func claim(key, value string) (bool, error) {
	if value == "" {
		return true, nil
	}
	ok, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("invalid %s value: %q", key, value)
	}
	return ok, nil
}

// String shows the repository and the ref, without user and password.
func (g Git) String() string {
	text := Redact(g.Remote)
	if g.Ref != "" || g.Subdir != "" {
		text += "#" + g.Ref
	}
	if g.Subdir != "" {
		text += ":" + g.Subdir
	}
	return text
}

// Redact returns a URL without its user and password. A text that is no URL is
// returned as it is.
func Redact(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	u.User = nil
	return u.String()
}

func notAlphanumeric(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
}
