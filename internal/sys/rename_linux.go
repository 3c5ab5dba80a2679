package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// RenameNoReplace gives the file or directory from the name to, which must not
// exist: renameat2(2), RENAME_NOREPLACE. The error is [fs.ErrExist] where it
// does. File systems without the flag get a link and an unlink for a file, and
// for a directory a rename, which replaces no directory that holds anything.
func RenameNoReplace(from, to string) error {
	err := retry(func() error {
		return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	})
	switch err {
	case nil:
		return nil
	case unix.EINVAL, unix.ENOSYS:
		return renameSlowly(from, to)
	}
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
}

func renameSlowly(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if st.IsDir() {
		err := retry(func() error { return unix.Rename(from, to) })
		if err == unix.ENOTEMPTY || err == unix.ENOTDIR {
			err = unix.EEXIST
		}
		if err != nil {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
		return nil
	}
	if err := os.Link(from, to); err != nil {
		return err
	}
	// The new name is there: a left-over old one is rubbish, not a failure.
	if err := os.Remove(from); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
