package parser

import (
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"builder/internal/diag"
)

// Mount is a --mount of RUN, with variables replaced. What is zero or nil was
// not given, but for Type and ReadOnly, which have their defaults.
type Mount struct {
	Type           string // bind, cache, tmpfs, secret or ssh
	From           string // stage or image; as written, since no variables are replaced in it
	Source, Target string
	ReadOnly       bool
	ID             string
	Sharing        string // shared, private or locked
	Size           int64
	Required       bool
	Env            *string
	Mode, UID, GID *uint64
}

// Device is a --device of RUN.
type Device struct {
	Name     string
	Required bool
}

// runFlags are the flags of one RUN, as BuildKit's package keeps them.
type runFlags struct {
	mu      sync.Mutex // of command, in which variables are replaced
	command *instructions.RunCommand
}

// HasFlag reports whether RUN has the flag name, which begins with "--".
func (r *Run) HasFlag(name string) bool {
	return r.flags != nil && slices.Contains(r.flags.command.FlagsUsed, strings.TrimPrefix(name, "--"))
}

// Network is what --network says, "default" where it says nothing.
func (r *Run) Network() string {
	if r.flags == nil {
		return instructions.NetworkDefault
	}
	return instructions.GetNetwork(r.flags.command)
}

// Security is what --security says, "sandbox" where it says nothing.
func (r *Run) Security() string {
	if r.flags == nil {
		return instructions.SecuritySandbox
	}
	return instructions.GetSecurity(r.flags.command)
}

// Devices are what --device says, in order.
func (r *Run) Devices() []Device {
	if r.flags == nil {
		return nil
	}
	var list []Device
	for _, d := range instructions.GetDevices(r.flags.command) {
		list = append(list, Device{Name: d.Name, Required: d.Required})
	}
	return list
}

// MountsFrom is what each --mount has as its from, in order; empty for none.
func (r *Run) MountsFrom() []string {
	return r.from
}

// Mounts are what --mount says, in order, with expand applied to every value.
// An error has its place. It can be called from many goroutines.
func (r *Run) Mounts(expand func(word string) (string, error)) ([]Mount, error) {
	if len(r.from) == 0 {
		return nil, nil
	}
	r.flags.mu.Lock()
	defer r.flags.mu.Unlock()
	var fault error
	err := r.flags.command.Expand(func(word string) (string, error) {
		value, err := expand(word)
		if err != nil {
			fault = err
		}
		return value, err
	})
	if fault != nil {
		return nil, fault
	}
	if err != nil {
		return nil, r.mountFault(err)
	}
	var list []Mount
	for i, m := range instructions.GetMounts(r.flags.command) {
		list = append(list, Mount{
			Type: string(m.Type), From: r.from[i], Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly, ID: m.CacheID,
			Sharing: string(m.CacheSharing), Size: m.SizeLimit, Required: m.Required, Env: m.Env, Mode: m.Mode, UID: m.UID, GID: m.GID,
		})
	}
	return list, nil
}

// MountSpan is the place of the flag --mount number n, or of the instruction
// where it is not found.
func (r *Run) MountSpan(n int) diag.Span {
	s := r.findNth("--mount=", n)
	if s == r.Span {
		return s
	}
	line := 0
	for text := range strings.Lines(r.Span.File.Text) {
		if line++; line == s.Start.Line {
			rest := text[s.End.Column-1:]
			if end := strings.IndexAny(rest, " \t\r\n"); end > 0 {
				s.End.Column += end
			} else if end < 0 {
				s.End.Column += len(rest)
			}
			break
		}
	}
	return s
}

// mountFault says what is wrong with a mount, at the word that is wrong if the
// message has it.
func (r *Run) mountFault(err error) *diag.Error {
	message, near := cause(err), ""
	if _, rest, ok := strings.Cut(err.Error(), " (did you mean "); ok {
		near, _, _ = strings.Cut(rest, "?)")
	}
	at := r.MountSpan(0)
	for _, quote := range []string{"'", `"`} {
		parts := strings.Split(message, quote)
		for i := len(parts) - 2; i > 0; i -= 2 {
			if s := r.Find(parts[i]); s != r.Span {
				e := diag.Errorf(s, "%s", printable(message))
				if near != "" && near != parts[i] {
					return e.WithHint("did you mean %q?", near)
				}
				return e
			}
		}
	}
	return diag.Errorf(at, "%s", printable(message))
}
