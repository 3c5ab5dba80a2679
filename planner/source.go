package planner

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// remoteURL reports whether a source of ADD is fetched from a web server.
func remoteURL(source string) bool {
	return strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://")
}

// fileName is what a file fetched from a URL is called: the last component of the
// URL's path.
func fileName(source string) (string, error) {
	const unnamed = "__unnamed__"
	u, err := url.Parse(source)
	if err != nil {
		return unnamed, nil //nolint:nilerr // fetching will say so
	}
	name := path.Base(u.Path)
	switch {
	case name == "." || name == "/":
		return unnamed, nil
	case name == ".." || len(name) > 255 || strings.ContainsRune(name, 0):
		return "", fmt.Errorf("the URL's last component %q is no name for a file", name)
	}
	return name, nil
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

// named reports whether an owner, user[:group], has a name that has to be looked
// up: that is no number, and not root.
func named(owner string) bool {
	for part := range strings.SplitSeq(owner, ":") {
		if _, err := strconv.ParseInt(part, 10, 32); err != nil && part != "" && part != "root" {
			return true
		}
	}
	return false
}
