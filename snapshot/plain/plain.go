package plain

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
	// Dir holds the trees.
	Dir string
	// Temp returns the directory for what is not published yet; it belongs to
	// the lease of this process.
	Temp func() (string, error)
	// Trash returns the directory that removed trees are moved into.
	Trash func() (string, error)
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
}

// Store keeps trees in one directory.
type Store struct {
	o Options
}

var _ snapshot.Snapshotter = (*Store)(nil)

// emptyName is the tree without files.
const emptyName = "empty"

func newName() string { return rand.Text()[:16] }

// Open returns the trees in a directory, which is made where it is not there.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{o}
	if err := os.MkdirAll(s.files(emptyName), 0o755); err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	return s, nil
}

func (s *Store) dir(name string) string   { return filepath.Join(s.o.Dir, "plain", name) }
func (s *Store) files(name string) string { return filepath.Join(s.dir(name), "fs") }

// source returns the files of a tree.
func (s *Store) source(n note) string {
	if n.id.IsZero() {
		return s.files(emptyName)
	}
	return s.files(n.id.String())
}

// load reads the note of the tree id; ok is false where the tree is not here, or
// its note is torn.
func (s *Store) load(id snapshot.ID) (n note, ok bool, err error) {
	if id.IsZero() {
		return note{}, true, nil
	}
	n, err = s.readNote(id)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNote) {
		return note{}, false, nil
	}
	if err != nil {
		return note{}, false, fmt.Errorf("snapshot %s: %w", id, err)
	}
	return n, n.id == id, nil
}

func (s *Store) readNote(id snapshot.ID) (n note, err error) {
	f, err := os.Open(filepath.Join(s.dir(id.String()), "tree"))
	if err != nil {
		return note{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil {
		return note{}, err
	}
	return decode(text)
}

func (s *Store) mustLoad(id snapshot.ID) (note, error) {
	n, ok, err := s.load(id)
	if err == nil && !ok {
		err = notFound(id)
	}
	return n, err
}

func notFound(id snapshot.ID) error { return fmt.Errorf("snapshot %s: %w", id, snapshot.ErrNotFound) }

func (s *Store) public(n note) snapshot.Tree {
	if n.id.IsZero() {
		return snapshot.Tree{Dir: s.source(n)}
	}
	return snapshot.Tree{ID: n.id, Parent: n.parent, Dir: s.source(n), Born: time.Unix(0, n.born)}
}

// Tree returns the committed tree id.
func (s *Store) Tree(ctx context.Context, id snapshot.ID) (snapshot.Tree, bool, error) {
	n, ok, err := s.load(id)
	if !ok || err != nil {
		return snapshot.Tree{}, false, err
	}
	return s.public(n), true, nil
}

// Mount says how to mount the committed tree id.
func (s *Store) Mount(ctx context.Context, id snapshot.ID) (snapshot.Mount, error) {
	n, err := s.mustLoad(id)
	if err != nil {
		return snapshot.Mount{}, err
	}
	return snapshot.Mount{Source: s.source(n)}, nil
}

// copy makes a temporary directory whose fs is a copy of parent's.
func (s *Store) copy(ctx context.Context, parent note) (dir string, err error) {
	temp, err := s.o.Temp()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(temp, newName())
	return dir, s.copyInto(ctx, parent, dir)
}

// copyInto is copy for a directory that the caller names.
func (s *Store) copyInto(ctx context.Context, parent note, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "fs"), 0o755); err != nil {
		return err
	}
	err := copyTree(ctx, s.source(parent), filepath.Join(dir, "fs"))
	// A parent that is removed while it is copied was found, and is gone now.
	if errors.Is(err, fs.ErrNotExist) {
		if _, ok, e := s.load(parent.id); !ok && e == nil {
			err = notFound(parent.id)
		}
	}
	if err != nil {
		return errors.Join(err, s.discard(dir))
	}
	return nil
}

func copyTree(ctx context.Context, from, to string) error {
	src, err := sys.OpenDir(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := sys.OpenDir(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	c := sys.Copier{To: dst}
	return c.Tree(ctx, src, dst, "")
}

// discard moves a temporary directory into the trash.
func (s *Store) discard(dir string) error {
	trash, err := s.o.Trash()
	if err != nil {
		return err
	}
	return sys.RenameNoReplace(dir, filepath.Join(trash, newName()))
}

// now returns the time, but never one before the parent was born.
func (s *Store) now(parent note) int64 { return max(s.o.Now().UnixNano(), parent.born) }

// publish gives the temporary directory dir its place as the tree that n
// names. Where that is here, dir is discarded and the tree returned.
func (s *Store) publish(n note, dir string) (snapshot.Tree, error) {
	if err := writeNote(filepath.Join(dir, "tree"), n); err != nil {
		return snapshot.Tree{}, errors.Join(err, s.discard(dir))
	}
	place := s.dir(n.id.String())
	for range 2 {
		err := sys.RenameNoReplace(dir, place)
		if err == nil {
			return s.public(n), nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return snapshot.Tree{}, errors.Join(err, s.discard(dir))
		}
		winner, ok, err := s.load(n.id)
		if ok || err != nil {
			return s.public(winner), errors.Join(err, s.discard(dir))
		}
		// Its note is torn: it is no tree.
		if err := s.discard(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return snapshot.Tree{}, errors.Join(err, s.discard(dir))
		}
	}
	return snapshot.Tree{}, errors.Join(notFound(n.id), s.discard(dir))
}

func writeNote(path string, n note) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(n.encode())
	return errors.Join(err, f.Close())
}

// Remove moves trees into the trash.
func (s *Store) Remove(ctx context.Context, ids ...snapshot.ID) error {
	for _, id := range ids {
		if id.IsZero() {
			continue
		}
		if err := s.discard(s.dir(id.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", id, err)
		}
	}
	return nil
}
