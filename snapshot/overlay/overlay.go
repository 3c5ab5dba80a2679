package overlay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
	"builder/snapshot"
)

// Options say where trees are kept. All directories are on one file system.
type Options struct {
	// Dir holds the trees and their diffs.
	Dir string
	// Temp returns the directory for what is not published yet; it belongs to
	// the lease of this process.
	Temp func() (string, error)
	// Trash returns the directory that removed trees are moved into.
	Trash func() (string, error)
	// UserXattr keeps the overlay's marks in user.overlay.*, for user namespaces. Trees
	// made with the other kind of marks are not seen.
	UserXattr bool
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
}

// Store keeps trees in one directory.
type Store struct {
	o Options
}

var _ snapshot.Snapshotter = (*Store)(nil)

// emptyName is the diff without files, below trees that have too few diffs for
// an overlay.
const emptyName = "empty"

// nameLength is the length of a diff's name: 80 random bits.
const nameLength = 16

func newName() string { return rand.Text()[:nameLength] }

// Open returns the trees in a directory, which is made where it is not there.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{o}
	for _, dir := range []string{s.treePath(""), s.diffPath(emptyName)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("open snapshots: %w", err)
		}
	}
	return s, nil
}

func (s *Store) treePath(id string) string   { return filepath.Join(s.o.Dir, "trees", id) }
func (s *Store) diffDir(name string) string  { return filepath.Join(s.o.Dir, "diffs", name) }
func (s *Store) diffPath(name string) string { return filepath.Join(s.o.Dir, "diffs", name, "fs") }

// load reads the tree id. ok is false where it is not here: there is no file, it
// is torn, or diffs that it names are gone.
func (s *Store) load(id snapshot.ID) (t tree, ok bool, err error) {
	if id.IsZero() {
		return tree{}, true, nil
	}
	t, err = s.readTree(id.String())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errTree) || errors.Is(err, unix.EISDIR) {
		return tree{}, false, nil
	}
	if err != nil {
		return tree{}, false, fmt.Errorf("snapshot %s: %w", id, err)
	}
	if t.id != id {
		return tree{}, false, nil
	}
	gone, err := s.missing(t.diffs)
	return t, err == nil && !gone, err
}

func (s *Store) readTree(name string) (t tree, err error) {
	f, err := os.Open(s.treePath(name))
	if err != nil {
		return tree{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, maxTree))
	if err != nil {
		return tree{}, err
	}
	return decode(text, s.o.UserXattr)
}

// missing reports whether one of the diffs is not here.
func (s *Store) missing(diffs []diff) (bool, error) {
	for _, d := range diffs {
		_, err := os.Lstat(s.diffPath(d.name))
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// mustLoad is load for callers who cannot go on without the tree.
func (s *Store) mustLoad(id snapshot.ID) (tree, error) {
	t, ok, err := s.load(id)
	if err == nil && !ok {
		err = fmt.Errorf("snapshot %s: %w", id, snapshot.ErrNotFound)
	}
	return t, err
}

// public returns what callers see of a tree.
func (s *Store) public(t tree) snapshot.Tree {
	if len(t.diffs) == 0 {
		return snapshot.Tree{Dir: s.diffPath(emptyName)}
	}
	return snapshot.Tree{ID: t.id, Parent: t.parent, Dir: s.diffPath(t.own().name), Born: time.Unix(0, t.born())}
}

// Tree returns the committed tree id.
func (s *Store) Tree(ctx context.Context, id snapshot.ID) (snapshot.Tree, bool, error) {
	t, ok, err := s.load(id)
	if !ok || err != nil {
		return snapshot.Tree{}, false, err
	}
	return s.public(t), true, nil
}

// Mount says how to mount the committed tree id.
func (s *Store) Mount(ctx context.Context, id snapshot.ID) (snapshot.Mount, error) {
	t, err := s.mustLoad(id)
	if err != nil {
		return snapshot.Mount{}, err
	}
	if len(t.diffs) == 0 {
		return snapshot.Mount{Source: s.diffPath(emptyName)}, nil
	}
	return snapshot.Mount{Lower: s.lower(t, 2), UserXattr: s.o.UserXattr}, nil
}

// lower returns the directories of a tree, topmost first, at least want of them.
func (s *Store) lower(t tree, want int) []string {
	dirs := make([]string, 0, len(t.diffs)+1)
	for i := len(t.diffs) - 1; i >= 0; i-- {
		dirs = append(dirs, s.diffPath(t.diffs[i].name))
	}
	if len(dirs) < want {
		dirs = append(dirs, s.diffPath(emptyName))
	}
	return dirs
}

// fresh makes a temporary directory for a diff on top of parent, whose root has
// the metadata of the parent's root.
func (s *Store) fresh(parent tree) (dir string, err error) {
	temp, err := s.o.Temp()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(temp, newName())
	return dir, s.freshIn(dir, parent)
}

// freshIn is fresh for a directory that the caller names.
func (s *Store) freshIn(dir string, parent tree) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := s.freshRoot(filepath.Join(dir, "fs"), parent); err != nil {
		return errors.Join(s.vanished(err, parent.id), s.discard(dir))
	}
	return nil
}

func (s *Store) freshRoot(root string, parent tree) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	if len(parent.diffs) == 0 {
		return os.Chmod(root, 0o755)
	}
	return copyRootMeta(s.diffPath(parent.own().name), root)
}

func copyRootMeta(from, to string) (err error) {
	src, err := sys.OpenDir(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := sys.OpenDir(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	c := sys.Copier{To: dst, Xattr: notOverlay}
	return c.DirMeta(src, dst)
}

func notOverlay(name string) bool { return !sys.IsOverlayXattr(name) }

// discard moves a temporary directory into the trash: deleting is slow, and the
// caller has better things to do.
func (s *Store) discard(dir string) error {
	trash, err := s.o.Trash()
	if err != nil {
		return err
	}
	return sys.RenameNoReplace(dir, filepath.Join(trash, newName()))
}

// now returns the time, but never one before the parent was born: a clock that
// was set back makes no tree older than its parent.
func (s *Store) now(parent tree) int64 { return max(s.o.Now().UnixNano(), parent.born()) }
