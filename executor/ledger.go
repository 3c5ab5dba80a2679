package executor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"builder/cache"
	"builder/executor/fileop"
	"builder/executor/sandbox"
	"builder/image/layer"
	"builder/internal/depot"
	"builder/planner"
	"builder/snapshot"
)

// times says with what mtimes a step that uses caches sees its files. Programs such as make
// compare those with the times of what they left in a cache when they saw other
// files: a file is as old as it was for them if it has not changed since, and new
// if it has.
type times struct {
	*shown
	ledgers []cache.Ledger
	now     int64
	seen    map[string]cache.Seen
	// root are the times of files of the step's root that differ from the tree's, by
	// their paths in it; real is what those are.
	root map[string]int64
	real map[string]int64
}

// coarse is how far behind the clock the time of a file being written may be.
const coarse = 20 * time.Millisecond

// newTimes reads what the caches' steps saw last. It is nil where the step uses none.
func (s *shown) newTimes() (*times, error) {
	if len(s.caches) == 0 {
		return nil, nil
	}
	t := &times{shown: s, seen: map[string]cache.Seen{}, root: map[string]int64{}, real: map[string]int64{}}
	t.now = now().Add(-coarse).UnixNano()
	for _, c := range s.caches {
		l, err := c.Ledger()
		if err != nil {
			return nil, err
		}
		t.ledgers = append(t.ledgers, l)
		if l.Lost || l.Ended == 0 {
			t.now = max(t.now, now().UnixNano())
		}
		t.now = max(t.now, l.Ended+1)
	}
	return t, nil
}

// want is the time that a file has for the step.
func (t *times) want(at string, f depot.File) int64 {
	var want int64
	for _, l := range t.ledgers {
		before, ok := l.Files[at]
		switch {
		case ok && before.Digest == f.Digest:
			want = max(want, before.Mtime)
		case l.Files == nil && !l.Lost:
			want = max(want, f.Mtime) // nothing was made of anything
		default:
			want = max(want, t.fresh(l, f))
		}
	}
	t.seen[at] = cache.Seen{Digest: f.Digest, Mtime: want}
	return want
}

// fresh is the time of a file that is new for what is in a cache.
func (t *times) fresh(l cache.Ledger, f depot.File) int64 {
	if l.Ended != 0 && f.Mtime > l.Ended {
		return f.Mtime
	}
	return t.now
}

// ofRoot finds the times of the root's files: of a base's where the base is another
// one, and of each that the build itself put there.
func (t *times) ofRoot(ctx context.Context, op planner.Exec) error {
	if err := t.ofBase(ctx); err != nil {
		return err
	}
	chain, base := t.work.root.chain, t.work.root.base
	files, err := t.Depot.FilesOf(ctx, chain, base, "")
	if err != nil {
		return err
	}
	for _, f := range files {
		at := "/" + f.Path
		if covered(op, at) {
			continue
		}
		t.setRoot(f, t.want(at, f))
	}
	return nil
}

// setRoot gives a file of the root a time; one of the base, which it may cover, does
// not count any more.
func (t *times) setRoot(f depot.File, want int64) {
	delete(t.root, f.Path)
	if want != f.Mtime {
		t.root[f.Path], t.real[f.Path] = want, f.Mtime
	}
}

// covered reports whether a path is under a mount.
func covered(op planner.Exec, at string) bool {
	below := func(target string) bool { return target != "" && (at == target || strings.HasPrefix(at, target+"/")) }
	return slices.ContainsFunc(op.Mounts, func(m planner.Mount) bool { return below(m.Target) }) ||
		slices.ContainsFunc(op.Volumes, func(v planner.Volume) bool { return below(v.Target) })
}

// maxBase is how many bytes of files two bases may differ in to be compared.
const maxBase = 64 << 20

// ofBase makes new what differs in the base from the base that the last steps had.
// Where the two are of another kind altogether, which happens as caches are shared by
// recipes, that would be all of it: then what the build itself put there is made
// new instead, without which nothing is made.
func (t *times) ofBase(ctx context.Context) error {
	base := t.work.root.chain[:t.work.root.base]
	for i := range t.ledgers {
		l := &t.ledgers[i]
		if l.Files == nil || slices.Equal(l.Base, base) {
			continue
		}
		changed, ok, err := t.Depot.ChangedFiles(ctx, l.Base, base, maxBase)
		if err != nil {
			return err
		}
		if !ok {
			l.Files = map[string]cache.Seen{}
			continue
		}
		for _, f := range changed {
			if want := max(t.fresh(*l, f), t.root[f.Path]); want > f.Mtime {
				t.setRoot(f, want)
			}
		}
	}
	return nil
}

// ofBind finds the times of what a bind shows that are not those of its tree, by paths in that.
func (t *times) ofBind(ctx context.Context, m planner.Mount) ([]sandbox.Time, error) {
	chain := t.input(t.work.step, m.Input).chain
	files := t.Depot.Files(chain)
	view, err := files.View(ctx)
	if err != nil {
		return nil, err
	}
	selection, err := fileop.SelectShown(m.Source, view)
	if err != nil {
		return nil, err
	}
	top := selection.Entries()[0].Path
	list, err := t.Depot.FilesOf(ctx, chain, 0, top)
	if err != nil {
		return nil, err
	}
	var changed []sandbox.Time
	for _, f := range list {
		at := path.Join(m.Target, strings.TrimPrefix(f.Path, top))
		if want := t.want(at, f); want != f.Mtime {
			changed = append(changed, sandbox.Time{Path: f.Path, Mtime: want})
		}
	}
	return changed, nil
}

// write tells the caches what the step is about to see.
func (t *times) write() error {
	l := cache.Ledger{Base: t.work.root.chain[:t.work.root.base], Files: t.seen}
	for _, c := range t.caches {
		if err := c.See(l); err != nil {
			return err
		}
	}
	return nil
}

// ofMounted are the times for the sandbox.
func (t *times) ofMounted() []sandbox.Time {
	var list []sandbox.Time
	if t == nil {
		return nil
	}
	for path, mtime := range t.root {
		list = append(list, sandbox.Time{Path: path, Mtime: mtime})
	}
	return list
}

// mtime returns the time that a file of the root had for the step, if it was
// another one than the tree's.
func (t *times) mtime(path string) (int64, bool) {
	if t == nil {
		return 0, false
	}
	mtime, ok := t.root[path]
	return mtime, ok
}

// putBack removes from the step's tree what was only given another time.
func (t *times) putBack(ix *layer.Index, active snapshot.Active) (err error) {
	if t == nil || len(t.root) == 0 {
		return nil
	}
	changed := map[string]bool{}
	for i := range ix.Entries {
		changed[ix.Entries[i].Path] = true
	}
	top, err := os.Open(active.Dir())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, top.Close()) }()
	stacked := active.Mount().Upper != ""
	for p := range t.root {
		if changed[p] {
			continue
		}
		err := t.putBackFile(top, p, stacked)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return fmt.Errorf("put back the time of %s: %w", p, err)
		}
	}
	return nil
}

// putBackFile removes a file that was copied up, or sets its time back. No link is
// followed: its directories are those of the tree below, or the step has changed them, and then it is not there.
func (t *times) putBackFile(top *os.File, name string, stacked bool) error {
	dir, err := unix.Openat2(int(top.Fd()), path.Dir(name), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	base := path.Base(name)
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	if stacked && st.Nlink == 1 { // the step may have given it another name
		return unix.Unlinkat(dir, base, 0)
	}
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(t.real[name])}, unix.AT_SYMLINK_NOFOLLOW)
}
