package cli

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"builder/internal/diag"
	"builder/planner"
)

// usage is a fault in what was typed: what, and how it is meant to be.
func usage(format string, args ...any) *diag.Error {
	return diag.Errorf(diag.Span{}, format, args...)
}

// parseBytes reads a size as docker writes it: 64m, 1.5gb, 1024.
func parseBytes(flag, text string) (int64, error) {
	number := strings.TrimRight(text, "bkmgtpiBKMGTPI ")
	unit := strings.ToLower(strings.TrimSpace(text[len(number):]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
	shift, ok := map[string]uint{"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}[unit]
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || !(value >= 0) || value*float64(int64(1)<<shift) > 1<<62 {
		return 0, usage("%s: %q is not a size", flag, text).WithHint("write a number and a unit, such as 64m or 1g")
	}
	return int64(value * float64(int64(1)<<shift)), nil
}

// parseHost reads --add-host NAME:IP or NAME=IP.
func parseHost(text string) (planner.Host, error) {
	name, ip, ok := strings.Cut(text, "=")
	if !ok {
		name, ip, ok = strings.Cut(text, ":")
	}
	ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
	if !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return planner.Host{}, usage("--add-host: %q is not a host and an address", text).WithHint("write --add-host name:192.0.2.1")
	}
	if _, err := netip.ParseAddr(ip); err != nil && ip != planner.HostGateway {
		return planner.Host{}, usage("--add-host: %q is not an address", ip).WithHint("write --add-host name:192.0.2.1")
	}
	return planner.Host{Name: name, IP: ip}, nil
}

// ulimits are the names that --ulimit takes, as docker spells them.
var ulimits = []string{"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}

// parseUlimit reads --ulimit NAME=SOFT[:HARD].
func parseUlimit(text string) (planner.Ulimit, error) {
	name, limits, ok := strings.Cut(text, "=")
	u := planner.Ulimit{Name: name}
	known := false
	for _, n := range ulimits {
		known = known || n == name
	}
	if !ok || !known {
		e := usage("--ulimit: %q is not a limit", text)
		if near := diag.Nearest(name, ulimits); near != "" {
			return u, e.WithHint("did you mean %q?", near)
		}
		return u, e.WithHint("write --ulimit nofile=1024:2048; the names are %s", strings.Join(ulimits, ", "))
	}
	soft, hard, both := strings.Cut(limits, ":")
	var err error
	if u.Soft, err = strconv.ParseInt(soft, 10, 64); err == nil {
		u.Hard = u.Soft
		if both {
			u.Hard, err = strconv.ParseInt(hard, 10, 64)
		}
	}
	if err != nil || (u.Hard != -1 && (u.Soft == -1 || u.Soft > u.Hard)) {
		return u, usage("--ulimit: %q: the soft limit is a number up to the hard limit", text).WithHint("write --ulimit nofile=1024:2048; -1 is no limit")
	}
	return u, nil
}

// pairs reads NAME=VALUE flags; a bare NAME takes its value from look, and is
// left out where that has none.
func pairs(flag string, values []string, look func(string) (string, bool)) (map[string]string, error) {
	m := make(map[string]string, len(values))
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		if name == "" {
			return nil, usage("%s: %q has no name", flag, v).WithHint("write %s NAME=VALUE", flag)
		}
		if !ok {
			if value, ok = look(name); !ok {
				continue
			}
		}
		m[name] = value
	}
	return m, nil
}

// choice is a flag whose value is one of a few words.
type choice struct {
	value string
	words []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "string" }

// Set implements pflag.Value.
func (c *choice) Set(v string) error {
	for _, w := range c.words {
		if v == w {
			c.value = v
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", v, strings.Join(c.words, ", "))
}

// allowDelete lets an output remove what is in its directory besides.
const allowDelete = "buildx.local.delete"

// parseAllow reads --allow.
func parseAllow(words []string) (planner.Allowed, error) {
	var a planner.Allowed
	for _, word := range words {
		switch word {
		case "network.host":
			a.HostNetwork = true
		case "security.insecure":
			a.Insecure = true
		case "device":
			a.AllDevices = true
		case allowDelete: // of the command line itself
		default:
			if name, ok := strings.CutPrefix(word, "device="); ok && name != "" {
				a.Devices = append(a.Devices, name)
				continue
			}
			e := usage("--allow: %q cannot be allowed", word)
			known := []string{"network.host", "security.insecure", "device", allowDelete}
			if near := diag.Nearest(word, known); near != "" {
				return a, e.WithHint("did you mean %q?", near)
			}
			return a, e.WithHint("%s or device=NAME", strings.Join(known, ", "))
		}
	}
	return a, nil
}

// maxArgFile is how long a file of build arguments may be.
const maxArgFile = 1 << 20

// readArgFiles reads files of build arguments: NAME=VALUE lines, NAME for a value
// of the environment, empty lines and those that begin with "#". Later lines and
// files outrank earlier ones.
func readArgFiles(files []string) (map[string]string, error) {
	args := map[string]string{}
	for _, name := range files {
		err := readPairs("--build-arg-file", "build argument", name, func(arg, value string, given bool) {
			if !given {
				if value, given = os.LookupEnv(arg); !given {
					return
				}
			}
			args[arg] = value
		})
		if err != nil {
			return nil, err
		}
	}
	return args, nil
}

// readPairs reads a file of NAME=VALUE lines that a flag names, which may have empty lines and those that begin
// with "#". For a NAME alone no value is given. what is what a line stands for.
func readPairs(flag, what, file string, each func(name, value string, given bool)) error {
	data, err := readSmall(file, maxArgFile)
	if err != nil {
		return usage("%s: %v", flag, err)
	}
	text := &diag.File{Name: file, Text: string(data)}
	n := 0
	for line := range strings.Lines(text.Text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		name, value, given := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); name == "" || strings.ContainsAny(name, " \t") {
			return diag.Errorf(diag.Span{File: text, Start: diag.Pos{Line: n, Column: 1}}, "this is no %s", what).
				WithHint("write NAME=VALUE, one on a line")
		}
		each(name, value, given)
	}
	return nil
}

// readSmall reads a regular file, or fails where it is longer than limit.
func readSmall(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err = errors.Join(err, f.Close()); err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return data, err
}

// checkHostname refuses what the kernel would not take for a name.
func checkHostname(name string) error {
	if len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '/' }) {
		return usage("--hostname: %q is no name of a machine", name).WithHint("at most 64 letters, digits, dots and hyphens")
	}
	return nil
}

// checkAttestations refuses attestations that are asked for: there are none.
func (f *buildFlags) checkAttestations() error {
	asked := append([]string{}, f.attest...)
	for flag, value := range map[string]string{"provenance": f.provenance, "sbom": f.sbom} {
		if on, err := strconv.ParseBool(value); err == nil {
			value = "disabled=" + strconv.FormatBool(!on)
		}
		if value != "" {
			asked = append(asked, "type="+flag+","+value)
		}
	}
	for _, text := range asked {
		if !slices.Contains(strings.Split(text, ","), "disabled=true") {
			return usage("attestations are not made yet: %s", text).WithHint("--provenance=false and --sbom=false ask for none")
		}
	}
	return nil
}
