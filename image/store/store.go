package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"builder/image"
	"builder/internal/sys"
)

// ErrNotFound is returned for a blob, an image or a name that is not here.
var ErrNotFound = errors.New("not found")

// Options say how a store works. The zero value does.
type Options struct {
	// Temp is where files are written until they are complete: a directory on the
	// same file system, whose owner removes what a crash leaves there. Empty is
	// "tmp" in the store.
	Temp string
	// Discard takes a file out of the store, such as by renaming it into a trash
	// that outlives its last readers. nil removes it at once.
	Discard func(path string) error
}

// Store is the images in one directory. Its methods may be called from many
// goroutines.
type Store struct {
	dir     string
	temp    string
	discard func(path string) error
}

// Open returns the store in dir. Directories are made when they are needed.
func Open(dir string, o Options) (*Store, error) {
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		return nil, fmt.Errorf("open store: %s is not a directory", dir)
	}
	s := &Store{dir: dir, temp: o.Temp, discard: o.Discard}
	if s.temp == "" {
		s.temp = filepath.Join(dir, "tmp")
	}
	if s.discard == nil {
		s.discard = os.Remove
	}
	return s, nil
}

// Sync waits until everything that was written is on the disk.
func (s *Store) Sync() error {
	f, err := os.Open(s.dir)
	if err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	return errors.Join(sys.SyncFS(f), f.Close())
}

// createTemp makes a file to write into.
func (s *Store) createTemp(pattern string) (*os.File, error) {
	f, err := os.CreateTemp(s.temp, pattern)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(s.temp, 0o700); err != nil {
			return nil, err
		}
		f, err = os.CreateTemp(s.temp, pattern)
	}
	return f, err
}

// withDir does what needs the directory of path, which is made where it is missing.
func withDir(path string, do func() error) error {
	err := do()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return do()
}

// publish gives a complete temporary file its name. What has the name already
// stays: the first wins.
func publish(temp, path string) error {
	err := withDir(path, func() error { return sys.RenameNoReplace(temp, path) })
	if errors.Is(err, fs.ErrExist) {
		return os.Remove(temp)
	}
	return err
}

// replace writes a small file, in place of another where there is one.
func (s *Store) replace(path string, data []byte) error {
	f, err := s.createTemp("file-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = withDir(path, func() error { return os.Rename(f.Name(), path) })
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func (s *Store) blobPath(d image.Digest) string {
	return filepath.Join(s.dir, "blobs", "sha256", d.Encoded())
}
