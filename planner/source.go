package planner

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// remote says what a source of ADD is if it is not a path: a "URL" or a "git
// repository". The empty string is a path.
func remote(source string) string {
	if strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../") || strings.HasPrefix(source, "github.com/") {
		return ""
	}
	const git, web = "git repository", "URL"
	scheme, _, ok := strings.Cut(source, "://")
	if !ok || strings.ContainsFunc(scheme, notAlphanumeric) || scheme == "" {
		if scp(source) {
			return git
		}
		return ""
	}
	u, err := url.Parse(source)
	switch lower := strings.ToLower(scheme); {
	case (lower == "git" || lower == "ssh") && err == nil:
		return git
	case (lower == "http" || lower == "https") && err == nil && strings.HasSuffix(u.Path, ".git"):
		return git
	case scheme == "http" || scheme == "https":
		return web
	}
	return ""
}

func notAlphanumeric(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
}

// scp reports whether a source is a repository as scp(1) writes paths: user@host:path.
func scp(source string) bool {
	if !strings.Contains(source, "@") {
		return false
	}
	ok, err := regexp.MatchString(`^[a-zA-Z0-9-_]+@[a-zA-Z0-9-.]+:`, source)
	return ok && err == nil
}

// validMode reports whether text is what chmod(1) takes: an octal number of at
// most 07777 or symbolic clauses.
func validMode(text string) bool {
	if text[0] >= '0' && text[0] <= '9' {
		n, err := strconv.ParseUint(text, 8, 32)
		return err == nil && n <= 0o7777
	}
	for clause := range strings.SplitSeq(text, ",") {
		ops := strings.TrimLeft(clause, "augo")
		if ops == "" || !strings.ContainsRune("+-=", rune(ops[0])) || strings.Trim(ops, "+-=rstwXxugo") != "" {
			return false
		}
	}
	return true
}
