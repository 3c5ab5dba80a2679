package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"builder/cache"
	"builder/executor/sandbox"
	"builder/executor/source"
	"builder/image/store"
	"builder/internal/depot"
	"builder/internal/progress"
	"builder/snapshot"
	"builder/snapshot/overlay"
	"builder/snapshot/plain"
)

// storeVersion is the version of the root directory as a whole: docs/format.md.
const storeVersion = "1"

// machine is the root directory opened, with the implementations that this
// process uses.
type machine struct {
	*globals
	dir       string
	lease     *cache.Lease
	cache     *cache.Cache
	store     *store.Store
	snapshots snapshot.Snapshotter
	sandbox   *sandbox.Sandbox
	depot     *depot.Depot

	quietly  bool         // what prune leaves is not worth a word
	wrote    atomic.Bool  // something that should survive a crash of the machine
	release  func() error // of the hold on blobs
	opened   sync.Mutex   // for the rest
	contexts []*source.Context
	files    []*cache.Files
	atEnd    []func() error
}

// openMachine opens the root directory, made where it is missing. A user who is
// not root gets a second process for it, which does the whole command.
func openMachine(ctx context.Context, g *globals) (*machine, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	dir, err := g.rootDir()
	if err != nil {
		return nil, err
	}
	if err := checkVersion(dir); err != nil {
		return nil, err
	}
	m := &machine{globals: g, dir: dir}
	if err := m.open(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// enter goes on where the command runs as root, of the machine or of a user
// namespace. Elsewhere it returns, when that process has ended, what this one
// ends with.
func (g *globals) enter() error {
	inside, err := g.asRoot()
	if err == nil && !inside {
		err = &exitError{status: 0}
	}
	return err
}

// checkVersion makes the root directory, or refuses one of another version.
func checkVersion(dir string) error {
	path := filepath.Join(dir, "version")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make root directory: %w", err)
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return nil // another process is as far
		}
		if err != nil {
			return fmt.Errorf("make root directory: %w", err)
		}
		_, err = f.WriteString(storeVersion + "\n")
		return errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("open root directory: %w", err)
	}
	if v := strings.TrimSpace(string(data)); v != storeVersion && v != "" {
		return usage("%s has version %q, and this builder reads version %s", dir, v, storeVersion).WithHint("use another --root, or the builder that made it")
	}
	return nil
}

func (m *machine) open() error {
	var err error
	if m.cache, err = cache.Open(m.dir); err != nil {
		return err
	}
	if m.lease, err = m.cache.Lease(); err != nil {
		return err
	}
	if m.store, err = store.Open(m.dir, store.Options{Temp: m.lease.Dir(), Discard: m.lease.Trash}); err != nil {
		return err
	}
	if m.release, err = m.store.Hold(); err != nil {
		return err
	}
	if m.snapshots, err = m.openSnapshots(); err != nil {
		return err
	}
	if m.sandbox, err = sandbox.Open(filepath.Join(m.lease.Dir(), "sandbox")); err != nil {
		return err
	}
	m.depot, err = depot.Open(depot.Options{Dir: filepath.Join(m.dir, "layers"), Temp: m.lease.Dir(), Blobs: m.store, Snapshots: m.snapshots, Limit: m.room})
	return err
}

// maxReserve is how much of the disk no layer may take, at most; of a small one it is a part.
const (
	maxReserve  = 1 << 30
	reservePart = 20
)

// room is how many bytes a layer may unpack to: what is free on the disk, less a reserve for all
// else that writes there. A few bytes can stand for any number.
func (m *machine) room() (int64, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(m.dir, &disk); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", m.dir, err)
	}
	reserve := min(int64(disk.Blocks)*disk.Bsize/reservePart, maxReserve)
	return max(int64(disk.Bavail)*disk.Bsize-reserve, 1), nil
}

// kinds of snapshotters, as the file "snapshots" names them.
const (
	kindOverlay     = "overlay"
	kindUserOverlay = "overlay-userxattr"
	kindPlain       = "plain"
)

// openSnapshots takes overlayfs where it can be mounted on this file system, and
// copies elsewhere. The choice is kept: what one process made the next one reads.
func (m *machine) openSnapshots() (snapshot.Snapshotter, error) {
	kind, err := m.snapshotKind()
	if err != nil {
		return nil, err
	}
	temp := func() (string, error) { return m.lease.Dir(), nil }
	trash := m.lease.TrashDir
	if kind == kindPlain {
		return plain.Open(plain.Options{Dir: m.dir, Temp: temp, Trash: trash})
	}
	return overlay.Open(overlay.Options{Dir: m.dir, Temp: temp, Trash: trash, UserXattr: kind == kindUserOverlay})
}

// snapshotKind reads which snapshotter the root directory has, or finds out
// which one works and writes it down.
func (m *machine) snapshotKind() (string, error) {
	path := filepath.Join(m.dir, "snapshots")
	data, err := os.ReadFile(path)
	if err == nil {
		kind := strings.TrimSpace(string(data))
		switch kind {
		case kindOverlay, kindUserOverlay, kindPlain:
			return kind, nil
		}
		return "", fmt.Errorf("%s names the unknown snapshotter %q", path, kind)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("open snapshots: %w", err)
	}
	kind := kindPlain
	switch {
	case os.Getenv("BUILDER_SNAPSHOTS") == kindPlain:
	case os.Getenv(insideEnv) == "" && overlay.Probe(m.lease.Dir(), false) == nil:
		kind = kindOverlay
	case overlay.Probe(m.lease.Dir(), true) == nil:
		kind = kindUserOverlay
	}
	f, err := os.CreateTemp(m.lease.Dir(), "snapshots-*")
	if err != nil {
		return "", fmt.Errorf("open snapshots: %w", err)
	}
	_, err = f.WriteString(kind + "\n")
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	return kind, err
}

// sweepTime bounds what a command spends on cleaning up after others.
const sweepTime = 2 * time.Second

// Close lets go of everything. Temporary files go with the lease; what dead
// processes left is removed. The command has answered by now.
func (m *machine) Close() error {
	var errs []error
	if m.lease != nil && m.wrote.Load() {
		errs = append(errs, m.cache.Sync(context.Background()))
	}
	for _, c := range m.contexts {
		errs = append(errs, c.Close())
	}
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	for _, end := range m.atEnd {
		errs = append(errs, end())
	}
	if m.sandbox != nil {
		errs = append(errs, m.sandbox.Close())
	}
	errs = append(errs, m.letGo())
	if m.lease != nil {
		errs = append(errs, m.lease.Close())
		ctx, cancel := context.WithTimeout(context.Background(), sweepTime)
		defer cancel()
		errs = append(errs, m.cache.Sweep(ctx))
	}
	return errors.Join(errs...)
}

// letGo ends the hold on the store's blobs.
func (m *machine) letGo() error {
	if m.release == nil {
		return nil
	}
	release := m.release
	m.release = nil
	return release()
}

// noting returns a sink that notices steps which were not answered from the
// cache: what they wrote is worth a sync.
func (m *machine) noting(sink progress.Sink) progress.Sink { return noting{m, sink} }

type noting struct {
	m    *machine
	sink progress.Sink
}

// Progress implements progress.Sink.
func (n noting) Progress(e progress.Event) {
	if f, ok := e.(progress.Finished); ok && !f.Cached && f.Err == nil && strings.HasPrefix(f.Vertex.ID, "step ") {
		n.m.wrote.Store(true)
	}
	n.sink.Progress(e)
}

// path is a path in the root directory.
func (m *machine) path(name ...string) string {
	return filepath.Join(append([]string{m.dir}, name...)...)
}
