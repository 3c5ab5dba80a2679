package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// maxAppended is the size in bytes of the largest file that something is put at the end of.
const maxAppended = 16 << 20

// appendix is what was put at the end of a file.
type appendix struct {
	path     string
	data     []byte
	before   unix.Stat_t
	appended unix.Stat_t
}

// append puts data at the end of the regular file at path, which may be missing.
func (r *root) append(path string, data []byte) error {
	f, err := r.edit(path)
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	a := appendix{path: path, data: data}
	if err := unix.Fstat(int(f.Fd()), &a.before); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if a.before.Size > maxAppended {
		return fmt.Errorf("%s is longer than %d bytes", path, maxAppended)
	}
	if _, err := f.WriteAt(data, a.before.Size); err != nil {
		return err
	}
	if err := unix.Fstat(int(f.Fd()), &a.appended); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	r.appended = append(r.appended, a)
	return nil
}

// edit opens a regular file for reading and writing; nil where there is none.
func (r *root) edit(path string) (*os.File, error) {
	f, err := openIn(r.dir, path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO):
		return nil, nil
	case err != nil:
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// takeOff takes what was put at the end of a file off again, wherever it now is
// in it. A file that the step has not written gets its time back.
func (r *root) takeOff(a appendix) error {
	f, err := r.edit(a.path)
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	var now unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &now); err != nil {
		return &os.PathError{Op: "stat", Path: a.path, Err: err}
	}
	if now.Size > 2*maxAppended {
		return fmt.Errorf("%s is longer than %d bytes", a.path, 2*maxAppended)
	}
	content, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	before, after, ok := bytes.Cut(content, a.data)
	if !ok {
		return nil // the step has made another file
	}
	if _, err := f.WriteAt(after, int64(len(before))); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(before) + len(after))); err != nil {
		return err
	}
	if now.Ino == a.appended.Ino && now.Mtim == a.appended.Mtim {
		now.Atim, now.Mtim = a.before.Atim, a.before.Mtim
	}
	return sys.SetFileTimes(f, now.Atim, now.Mtim)
}
