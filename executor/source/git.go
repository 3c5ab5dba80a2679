package source

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"builder/cache"
	"builder/internal/progress"
	"builder/internal/sys"
)

// Repository is a commit of a repository.
type Repository struct {
	Remote string
	Ref    string // empty is what the remote has as HEAD
	// Checksum is a commit or its first digits, which Ref has to be.
	Checksum string
	Subdir   string // of the result; empty is all of it
	// KeepGitDir leaves .git there, unless there is a Subdir.
	KeepGitDir, NoSubmodules bool
	// FetchByCommit asks for the commit Checksum and for no ref.
	FetchByCommit bool
}

var commitForm = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Git returns a checkout. A ref that still is the commit it was costs one request,
// a commit that is here none.
func (f *Fetcher) Git(ctx context.Context, r Repository, sink progress.Sink, v progress.Vertex) (*Context, error) {
	what := fmt.Sprint(r.KeepGitDir, r.NoSubmodules, r.FetchByCommit)
	return f.only(ctx, sourceKey("git", r.Remote, r.Ref, r.Checksum, r.Subdir, what), func() (*Context, error) {
		key := sourceKey("git", r.Remote)
		unlock, err := f.Cache.Lock(ctx, key, nil)
		if err != nil {
			return nil, err
		}
		opened, err := f.git(ctx, key, r, func(line string) {
			sink.Progress(progress.Output{Vertex: v, Stream: progress.Stderr, Data: []byte(line + "\n"), Time: time.Now()})
		})
		return opened, errors.Join(err, unlock())
	})
}

func (f *Fetcher) git(ctx context.Context, key cache.Key, r Repository, say func(string)) (*Context, error) {
	home, err := os.MkdirTemp(f.Temp, "git-*")
	if err != nil {
		return nil, err
	}
	g, err := f.newGit(home, r.Remote)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(home))
	}
	opened, err := f.checkout(ctx, g, key, r, say)
	return opened, errors.Join(err, os.RemoveAll(home))
}

// checkout finds the commit and has it checked out, if it is not here.
func (f *Fetcher) checkout(ctx context.Context, g *git, key cache.Key, r Repository, say func(string)) (*Context, error) {
	r.KeepGitDir = r.KeepGitDir && r.Subdir == ""
	found, err := g.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	say(found.commit + "\t" + found.ref)
	name := sourceKey(found.commit, fmt.Sprint(r.KeepGitDir, r.NoSubmodules)).String()
	if r.KeepGitDir {
		name = sourceKey(found.commit, found.ref, fmt.Sprint(r.KeepGitDir, r.NoSubmodules)).String()
	}
	if _, err := os.Lstat(f.path(key, name)); errors.Is(err, fs.ErrNotExist) {
		dir := filepath.Join(g.home, "tree")
		if err := g.clone(ctx, dir, r, found); err != nil {
			return nil, err
		}
		if err := f.publish(key, dir, name); err != nil {
			return nil, err
		}
	}
	if err := f.write(key, state{Source: redact(r.Remote)}); err != nil {
		return nil, err
	}
	dir, err := subdir(f.path(key, name), r.Subdir)
	if err != nil {
		return nil, err
	}
	return f.Open(dir)
}

// subdir is a directory of a checkout. A link on the way to it is none: it could
// lead anywhere.
func subdir(dir, sub string) (string, error) {
	for part := range strings.SplitSeq(sub, "/") {
		if part == "" || part == "." {
			continue
		}
		dir = filepath.Join(dir, part)
		fi, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) || part == ".." {
			return "", fmt.Errorf("the repository has no directory %q", sub)
		}
		if err != nil {
			return "", err
		}
		if !fi.IsDir() {
			return "", fmt.Errorf("%q of the repository is no directory", sub)
		}
	}
	return dir, nil
}

// found is what a ref stands for.
type found struct {
	commit string
	ref    string // what to ask for
}

// resolve asks the remote what the ref is, unless it is a commit already.
func (g *git) resolve(ctx context.Context, r Repository) (found, error) {
	if commitForm.MatchString(r.Ref) {
		if !strings.HasPrefix(r.Ref, r.Checksum) {
			return found{}, fmt.Errorf("expected checksum to match %s, got %s", r.Checksum, r.Ref)
		}
		return found{r.Ref, r.Ref}, nil
	}
	if r.FetchByCommit {
		if !commitForm.MatchString(r.Checksum) {
			return found{}, fmt.Errorf("fetch-by-commit requires a full commit SHA checksum, got %q", r.Checksum)
		}
		return found{r.Checksum, r.Checksum}, nil
	}
	ref := r.Ref
	args := []string{"ls-remote", "--symref", "--", g.remote}
	if ref == "" {
		args = append(args, "HEAD")
	} else {
		args = append(args, ref, ref+"^{}")
	}
	out, err := g.run(ctx, "", args...)
	if err != nil {
		return found{}, fmt.Errorf("failed to fetch remote %s: %w", redact(r.Remote), err)
	}
	at, peeled := choose(out, ref)
	if at.commit == "" {
		return found{}, fmt.Errorf("repository does not contain ref %s", ref)
	}
	if !strings.HasPrefix(at.commit, r.Checksum) && (peeled == "" || !strings.HasPrefix(peeled, r.Checksum)) {
		got := at.commit
		if peeled != "" {
			got += " or " + peeled
		}
		return found{}, fmt.Errorf("expected checksum to match %s, got %s", r.Checksum, got)
	}
	if peeled != "" {
		at.commit = peeled
	}
	return at, nil
}

// choose reads the answer of ls-remote: an exact ref, else a branch, else a tag,
// with the commit that an annotated tag is of.
func choose(out, ref string) (at found, peeled string) {
	refs := map[string]string{}
	head := ""
	for line := range strings.Lines(out) {
		sha, name, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if to, symbolic := strings.CutPrefix(sha, "ref: "); symbolic && name == "HEAD" {
			head = to
		} else if ok && commitForm.MatchString(sha) {
			refs[name] = sha
		}
	}
	if ref == "" {
		if head == "" {
			head = "HEAD"
		}
		return found{refs["HEAD"], head}, ""
	}
	tag := "refs/tags/" + strings.TrimPrefix(ref, "refs/tags/")
	for _, name := range []string{"refs/" + strings.TrimPrefix(ref, "refs/"), "refs/heads/" + strings.TrimPrefix(ref, "refs/heads/"), tag} {
		if sha := refs[name]; sha != "" {
			if name == tag {
				peeled = refs[tag+"^{}"]
			}
			return found{sha, name}, peeled
		}
	}
	return found{}, ""
}

// clone makes a checkout of the commit in dir.
func (g *git) clone(ctx context.Context, dir string, r Repository, at found) error {
	format := "sha1"
	if len(at.commit) == 64 {
		format = "sha256"
	}
	if _, err := g.run(ctx, "", "init", "--quiet", "--object-format="+format, "--", dir); err != nil {
		return err
	}
	if _, err := g.run(ctx, dir, "remote", "add", "--", "origin", g.remote); err != nil {
		return err
	}
	if err := g.fetch(ctx, dir, at); err != nil {
		return fmt.Errorf("failed to fetch remote %s: %w", redact(r.Remote), err)
	}
	got, err := g.run(ctx, dir, "rev-parse", "--verify", "--end-of-options", at.commit+"^{commit}")
	if err != nil {
		return fmt.Errorf("the remote has no commit %s", at.commit)
	}
	if strings.TrimSpace(got) != at.commit && commitForm.MatchString(r.Ref) {
		return fmt.Errorf("%s is no commit", at.commit)
	}
	if _, err := g.run(ctx, dir, "checkout", "--quiet", "--force", "--detach", at.commit, "--"); err != nil {
		return err
	}
	if !r.NoSubmodules {
		if _, err := g.run(ctx, dir, "submodule", "update", "--init", "--recursive", "--depth=1"); err != nil {
			return fmt.Errorf("failed to update submodules for %s: %w", redact(r.Remote), err)
		}
	}
	if r.KeepGitDir {
		if err := g.settle(ctx, dir); err != nil {
			return err
		}
	}
	seconds, err := g.run(ctx, dir, "show", "--no-patch", "--format=%ct", at.commit, "--")
	if err != nil {
		return err
	}
	when, err := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
	if err != nil {
		return fmt.Errorf("commit %s: its time is %q", at.commit, seconds)
	}
	return tidy(dir, r.KeepGitDir, time.Unix(when, 0))
}

// fetch brings a commit: by itself, or, where the remote gives no commits, with
// all that it has.
func (g *git) fetch(ctx context.Context, dir string, at found) error {
	spec := at.ref
	if strings.HasPrefix(spec, "refs/") {
		spec += ":" + spec // it is there under its name, too
	}
	args := []string{"fetch", "--quiet", "--no-tags", "--update-head-ok", "--refmap=", "--depth=1", "--end-of-options", "origin", spec}
	_, err := g.run(ctx, dir, args...)
	if err != nil && strings.Contains(err.Error(), "does not support shallow") {
		// Files on a web server, and nothing that knows git.
		_, err = g.run(ctx, dir, slices.Delete(args, 5, 6)...)
	}
	if err == nil && at.ref == at.commit {
		return nil
	}
	if err != nil && at.ref != at.commit {
		return err
	}
	if err == nil {
		if _, missing := g.run(ctx, dir, "cat-file", "-e", at.commit); missing == nil {
			return nil
		}
	}
	// A commit that no ref names, or a ref that has moved since it was asked for.
	_, err = g.run(ctx, dir, "fetch", "--quiet", "--tags", "--force", "origin", "+refs/heads/*:refs/remotes/origin/*")
	return err
}

// settle leaves a .git that is the same wherever it is made: one pack, an index
// without states of files, no logs of when.
func (g *git) settle(ctx context.Context, dir string) error {
	steps := [][]string{
		{"repack", "-q", "-a", "-d", "-f", "-n"},
		{"read-tree", "HEAD"},
		{"reflog", "expire", "--expire=now", "--all"},
	}
	for _, args := range steps {
		if _, err := g.run(ctx, dir, args...); err != nil {
			return err
		}
	}
	for _, name := range []string{"FETCH_HEAD", "ORIG_HEAD", "logs", "gc.pid"} {
		if err := os.RemoveAll(filepath.Join(dir, ".git", name)); err != nil {
			return err
		}
	}
	return nil
}

// tidy gives files and directories the modes that they have whatever the umask
// is and the time of the commit, takes away what is git's own, and has all of it
// on the disk: nobody could tell later what is torn.
func tidy(dir string, keepGitDir bool, when time.Time) error {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == ".git" && path != dir && !keepGitDir {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		switch {
		case fi.Mode().IsRegular() && fi.Mode()&0o200 == 0:
			mode = 0o444 // git's own objects
		case fi.IsDir(), fi.Mode().IsRegular() && fi.Mode()&0o100 != 0:
			mode = 0o755
		case !fi.Mode().IsRegular():
			return nil
		}
		paths = append(paths, path)
		return os.Chmod(path, mode)
	})
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(paths) {
		if err := os.Chtimes(path, when, when); err != nil {
			return err
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(sys.SyncFS(f), f.Close())
}

// newGit prepares to run git for a remote: its user and password go into the
// environment, so that they stand neither in arguments nor in a repository.
func (f *Fetcher) newGit(home, remote string) (*git, error) {
	g := &git{home: home, remote: remote, agent: f.Agent}
	u, err := url.Parse(remote)
	if err != nil || !strings.Contains(remote, "://") {
		return g, nil //nolint:nilerr // user@host:path
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return g, nil
	}
	if u.User != nil {
		password, _ := u.User.Password()
		g.header = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
		u.User = nil
		g.remote = u.String()
	}
	if value := f.gitAuthorization(u.Host); value != "" {
		g.header = "Authorization: " + value
	}
	g.headerFor = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}).String()
	return g, nil
}

// gitAuthorization is what the build's secrets say to a host of repositories.
func (f *Fetcher) gitAuthorization(host string) string {
	if f.Secret == nil {
		return ""
	}
	for _, suffix := range []string{"." + host, ""} {
		if value, ok := f.Secret("GIT_AUTH_HEADER" + suffix); ok {
			return strings.TrimSpace(string(value))
		}
		if token, ok := f.Secret("GIT_AUTH_TOKEN" + suffix); ok {
			return "Basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+strings.TrimSpace(string(token))))
		}
	}
	return ""
}
