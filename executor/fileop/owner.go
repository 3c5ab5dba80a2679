package fileop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/user"

	"builder/image/layer"
)

// maxUserFile is how large /etc/passwd and /etc/group may be.
const maxUserFile = 10 << 20

// owner is who files are given to.
type owner struct{ uid, gid int }

// findOwner resolves user[:group]. A number, and "root", stands for itself, and
// as a user for the group of the same number too; a name is looked up in the
// tree's /etc/passwd or /etc/group and, as with BuildKit, stands for root where
// it is not there, and is an error where there is no tree.
func findOwner(ctx context.Context, spec string, dst Tree) (*owner, error) {
	if spec == "" {
		return nil, nil
	}
	name, group, _ := strings.Cut(spec, ":")
	own := &owner{}
	if id, ok := parseID(name); ok {
		own.uid, own.gid = id, id
	} else if name != "" {
		err := findName(ctx, dst, "etc/passwd", func(r io.Reader) error {
			users, err := user.ParsePasswdFilter(r, func(u user.User) bool { return u.Name == name })
			if len(users) > 0 {
				own.uid, own.gid = validID(users[0].Uid), validID(users[0].Gid)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", name, err)
		}
	}
	if id, ok := parseID(group); ok {
		own.gid = id
	} else if group != "" {
		err := findName(ctx, dst, "etc/group", func(r io.Reader) error {
			groups, err := user.ParseGroupFilter(r, func(g user.Group) bool { return g.Name == group })
			if len(groups) > 0 {
				own.gid = validID(groups[0].Gid)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", group, err)
		}
	}
	return own, nil
}

// parseID reads a numeric id, or "root". -1 tells chown(2) to change nothing: what
// was just made stays root's.
func parseID(s string) (int, bool) {
	if s == "root" || s == "-1" {
		return 0, true
	}
	id, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0, false
	}
	return int(uint32(id)), true
}

// findName gives parse the user file at name, where the tree has one.
func findName(ctx context.Context, dst Tree, name string, parse func(io.Reader) error) (err error) {
	if dst.View.Len() == 0 {
		return errors.New("a name cannot be resolved in an empty tree: use a number")
	}
	real, err := resolve(dst.View.Lookup, name)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	e, ok := dst.View.Lookup(real)
	if !ok {
		return nil
	}
	switch {
	case e.Type != layer.File && e.Type != layer.Hardlink:
		return &fs.PathError{Op: "open", Path: "/" + name, Err: errors.New("not a regular file")}
	case e.Size > maxUserFile:
		return &fs.PathError{Op: "open", Path: "/" + name, Err: fmt.Errorf("exceeds %d bytes", maxUserFile)}
	}
	r, err := dst.Files.Open(ctx, e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return parse(io.LimitReader(r, maxUserFile))
}
