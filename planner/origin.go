package planner

import (
	"encoding/hex"
	"path"
	"slices"
	"strings"

	"builder/internal/diag"
	"builder/parser"
)

// origins says where the sources of a COPY or ADD come from: it gives op its
// parts, and returns the step of each. Sources that follow each other and come
// from one place are one part.
func (p *plan) origins(c *parser.Copy, op *Copy, from, s *stage) ([]StepRef, error) {
	var parts []Part
	var steps []StepRef
	if c.Checksum != "" && len(op.Sources) != 1 {
		return nil, diag.Errorf(c.Span, "checksum can't be specified for multiple sources")
	}
	for i, source := range op.Sources {
		part, step, err := p.origin(c, c.Sources[i], source, from, s)
		if err != nil {
			return nil, err
		}
		if last := len(parts) - 1; last >= 0 && !part.Literal && !parts[last].Literal {
			parts[last].Sources = append(parts[last].Sources, part.Sources...)
			parts[last].Include = append(parts[last].Include, part.Include...)
			continue
		}
		parts, steps = append(parts, part), append(steps, step)
	}
	op.Optional = c.Optional
	op.Sources, op.Exclude, op.Link = nil, c.Exclude, c.Link && op.Chmod == "" // as BuildKit has it
	if len(parts) > 0 {
		first := parts[0]
		op.Sources, op.Include, op.Unpack, op.Context, op.Literal = first.Sources, first.Include, first.Unpack, first.Context, first.Literal
		op.More = slices.Clip(parts[1:])
		if len(op.More) == 0 {
			op.More = nil
		}
	}
	if len(parts) == 0 {
		op.Unpack = c.Add && (c.Unpack == nil || *c.Unpack)
	}
	return steps, nil
}

// origin finds one source. written is how the recipe spells it.
func (p *plan) origin(c *parser.Copy, written, source string, from, s *stage) (Part, StepRef, error) {
	git, isGit, err := ParseGit(source)
	if c.Optional && (isGit || remoteURL(source)) {
		return Part{}, None, diag.Errorf(c.Find(written), "--optional is for files of the context or of a stage")
	}
	switch {
	case err != nil:
		return Part{}, None, diag.Errorf(c.Find(written), "%s", err)
	case isGit && !c.Add:
		return Part{}, None, diag.Errorf(c.Find(written), "source can't be a git ref for COPY").WithHint("ADD takes git repositories")
	case isGit:
		step, err := p.gitStep(c, git, s)
		return Part{Sources: []string{"."}, Context: true, Literal: true}, step, err
	case remoteURL(source) && !c.Add:
		return Part{}, None, diag.Errorf(c.Find(written), "source can't be a URL for COPY").WithHint("ADD takes URLs")
	case remoteURL(source):
		return p.webStep(c, source, written, s)
	case c.Checksum != "":
		return Part{}, None, diag.Errorf(c.FindFlag("--checksum", c.Checksum), "checksum requires HTTP(S) or Git sources")
	}
	if c.From == "" {
		p.checkIgnored(c, source)
	}
	part := Part{Unpack: c.Add && (c.Unpack == nil || *c.Unpack)}
	if c.Parents {
		// What is above the pivot is not copied.
		above, rest, pivot := strings.Cut(source, "/./")
		if !pivot {
			above, rest = "/", source
		}
		source = above
		part.Include = []string{strings.TrimPrefix(path.Clean("/"+rest), "/")}
	}
	part.Sources = []string{relative(source)}
	if c.From != "" && from.source == None {
		return part, from.root, nil
	}
	part.Context = true
	if c.From != "" {
		return part, from.source, nil
	}
	return part, p.contextStep(), nil
}

// relative is a path from the root of what is copied from.
func relative(source string) string {
	if p := strings.TrimPrefix(path.Clean("/"+source), "/"); p != "" {
		return p
	}
	return "."
}

// webStep is the file behind a URL.
func (p *plan) webStep(c *parser.Copy, source, written string, s *stage) (Part, StepRef, error) {
	name, err := fileName(source)
	if err != nil {
		return Part{}, None, diag.Errorf(c.Find(written), "%s", err)
	}
	checksum, err := p.word(c.Checksum, s.env, &c.Place)
	if err != nil {
		return Part{}, None, err
	}
	if checksum != "" && !validChecksum(checksum) {
		return Part{}, None, diag.Errorf(c.FindFlag("--checksum", c.Checksum), "invalid checksum digest format").
			WithHint("write sha256:, sha384: or sha512: and the digits, in lower case")
	}
	step := p.step(Step{
		Op: HTTP{URL: source, Name: name, Checksum: checksum}, Span: c.Span, Stage: s.id, Name: "[internal] fetch " + Redact(source),
	})
	unpack := c.Unpack != nil && *c.Unpack
	return Part{Sources: []string{name}, Unpack: unpack, Context: true, Literal: true}, step, nil
}

// gitStep is the checkout of a repository.
func (p *plan) gitStep(c *parser.Copy, op Git, s *stage) (StepRef, error) {
	checksum, err := p.word(c.Checksum, s.env, &c.Place)
	if err != nil {
		return None, err
	}
	if c.KeepGitDir != nil {
		if op.keepGiven && op.KeepGitDir != *c.KeepGitDir {
			return None, diag.Errorf(c.Span, "inconsistent keep-git-dir configuration")
		}
		op.KeepGitDir = *c.KeepGitDir
	}
	op.keepGiven = false
	if checksum != "" {
		if op.Checksum != "" && op.Checksum != checksum {
			return None, diag.Errorf(c.FindFlag("--checksum", c.Checksum), "checksum mismatch %q != %q", checksum, op.Checksum)
		}
		op.Checksum = checksum
		if err := op.safe(); err != nil {
			return None, diag.Errorf(c.FindFlag("--checksum", c.Checksum), "%s", err)
		}
	}
	return p.step(Step{Op: op, Span: c.Span, Stage: s.id, Name: "[internal] fetch " + op.String()}), nil
}

// validChecksum reports whether text is a digest in the form of the image
// specification.
func validChecksum(text string) bool {
	algorithm, digits, _ := strings.Cut(text, ":")
	size := map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}[algorithm]
	sum, err := hex.DecodeString(digits)
	return err == nil && size > 0 && len(sum) == size && strings.ToLower(digits) == digits
}
