package history

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Store is a directory of records.
type Store struct {
	dir, temp string
}

// New returns the store in dir, which appears with its first record. Files are
// written in temp, on the same file system, before they appear.
func New(dir, temp string) *Store { return &Store{dir, temp} }

// Limits bound a store; 0 is no bound.
type Limits struct {
	Records int
	Bytes   int64
}

// Put keeps a record and its log, and removes the oldest records beyond limits.
// It does not wait for the disk.
func (s *Store) Put(r *Record, log []byte, limits Limits) error {
	data, err := encode(r, log)
	if err != nil {
		return fmt.Errorf("record %s: %w", r.Ref, err)
	}
	f, err := os.CreateTemp(s.temp, "record-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.publish(f.Name(), name(r))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return s.trim(limits)
}

func (s *Store) publish(from, to string) error {
	err := os.Rename(from, filepath.Join(s.dir, to))
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(s.dir, 0o700); err == nil {
			err = os.Rename(from, filepath.Join(s.dir, to))
		}
	}
	return err
}

// name has the time first, so that names are in the order of the builds.
func name(r *Record) string { return fmt.Sprintf("%016x-%s", r.StartedAt.UnixNano(), r.Ref) }

// ref is the part of a file's name that names the record.
func ref(name string) (string, bool) {
	at, ref, ok := strings.Cut(name, "-")
	_, err := strconv.ParseUint(at, 16, 64)
	return ref, ok && err == nil && len(at) == 16 && ref != ""
}

// names are the files of records, the newest first.
func (s *Store) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list records: %w", err)
	}
	var list []string
	for _, e := range slices.Backward(entries) {
		if _, ok := ref(e.Name()); ok {
			list = append(list, e.Name())
		}
	}
	return list, nil
}

// trim removes the oldest records until the rest is in its limits.
func (s *Store) trim(limits Limits) error {
	list, err := s.names()
	if err != nil {
		return err
	}
	var size int64
	for i, file := range list {
		path := filepath.Join(s.dir, file)
		if limits.Bytes > 0 {
			if fi, err := os.Lstat(path); err == nil {
				size += fi.Size()
			}
		}
		// The newest stays, however long it is: it was asked for just now.
		if i > 0 && (limits.Records > 0 && i >= limits.Records || limits.Bytes > 0 && size > limits.Bytes) {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// Kept is a record in a store.
type Kept struct {
	*Record
	path string
}

// Log returns what progress showed.
func (k Kept) Log() ([]byte, error) {
	f, err := open(k.path)
	if err != nil {
		return nil, err
	}
	_, log, err := decode(f)
	var data []byte
	if err == nil {
		data, err = log()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("record %s: %w", k.Ref, err)
	}
	return data, nil
}

// List returns the records, the newest first. What cannot be read is left out and
// told to skipped.
func (s *Store) List(skipped func(error)) ([]Kept, error) {
	files, err := s.names()
	if err != nil {
		return nil, err
	}
	var list []Kept
	for _, file := range files {
		k, err := s.read(file)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			skipped(err)
		default:
			list = append(list, k)
		}
	}
	return list, nil
}

func (s *Store) read(file string) (Kept, error) {
	path := filepath.Join(s.dir, file)
	f, err := open(path)
	if err != nil {
		return Kept{}, err
	}
	r, _, err := decode(f)
	if err == nil && name(r) != file {
		err = errors.New("it is the record of another build")
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return Kept{}, fmt.Errorf("%s: %w", path, err)
	}
	return Kept{r, path}, nil
}

// open refuses what is no file, without waiting for it.
func open(path string) (*os.File, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: it is no file", path)
	}
	return os.Open(path)
}

// ErrNotFound is the error where no record, or more than one, is meant.
var ErrNotFound = errors.New("no such build")

// Find returns the record that word means: ^N is the one before so many others,
// and anything else the beginning of a reference, perhaps with a builder and a
// node in front as buildx has them.
func (s *Store) Find(word string) (Kept, error) {
	files, err := s.names()
	if err != nil {
		return Kept{}, err
	}
	if back, ok := strings.CutPrefix(word, "^"); ok {
		n, err := strconv.Atoi(back)
		if err != nil || n < 0 {
			return Kept{}, fmt.Errorf("%w: %q: a number comes after ^", ErrNotFound, word)
		}
		if n >= len(files) {
			return Kept{}, fmt.Errorf("%w: %q: there are %d", ErrNotFound, word, len(files))
		}
		return s.read(files[n])
	}
	start := word[strings.LastIndexByte(word, '/')+1:]
	var found []string
	for _, file := range files {
		if r, _ := ref(file); start != "" && strings.HasPrefix(r, start) {
			found = append(found, file)
		}
	}
	switch len(found) {
	case 0:
		return Kept{}, fmt.Errorf("%w: %q", ErrNotFound, word)
	case 1:
		return s.read(found[0])
	}
	return Kept{}, fmt.Errorf("%w: %q: it is the beginning of %d", ErrNotFound, word, len(found))
}

// Remove removes a record.
func (s *Store) Remove(k Kept) error {
	if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RemoveAll removes all records, also those that cannot be read, and returns
// their references.
func (s *Store) RemoveAll() ([]string, error) {
	files, err := s.names()
	var removed []string
	for _, file := range files {
		if rerr := os.Remove(filepath.Join(s.dir, file)); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
			continue
		}
		r, _ := ref(file)
		removed = append(removed, r)
	}
	return removed, err
}
