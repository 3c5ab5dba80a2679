package layer

import (
	"errors"
	"fmt"

	"builder/internal/sys"
)

// ResetRoot gives the directory dir the metadata of every tree's root: mode 0755,
// owned by root, without attributes. Layers say nothing of the root, so what a
// step makes of it would depend on whether the tree is the one that it left or
// one made of layers.
func ResetRoot(dir string) (err error) {
	d, err := sys.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("reset root: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	st, err := d.Lstat(".")
	if err != nil {
		return fmt.Errorf("reset root: %w", err)
	}
	if st.Uid != 0 || st.Gid != 0 {
		err = d.File().Chown(0, 0)
	}
	if st.Mode&0o7777 != 0o755 && err == nil {
		err = d.File().Chmod(0o755)
	}
	if err == nil {
		err = removeXattrs(d)
	}
	if err != nil {
		return fmt.Errorf("reset root: %w", err)
	}
	return nil
}

// removeXattrs removes the directory's attributes that a layer could have.
func removeXattrs(d sys.Dir) error {
	names, err := d.XattrNames(".")
	if err != nil {
		return err
	}
	for _, name := range names {
		if KeepXattr(name) {
			err = errors.Join(err, d.RemoveXattr(".", name))
		}
	}
	return err
}
