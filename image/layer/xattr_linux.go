package layer

import (
	"slices"
	"strings"

	"builder/internal/sys"
)

// keptXattrs returns the attributes of name in dir that are part of a layer.
func keptXattrs(dir sys.Dir, name string, t Type) ([]Xattr, error) {
	names, err := dir.XattrNames(name)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var list []Xattr
	for _, attr := range names {
		if !KeepXattr(attr) || !xattrFits(attr, t) {
			continue
		}
		value, ok, err := dir.Xattr(name, attr)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, Xattr{attr, string(value)})
		}
	}
	slices.SortFunc(list, compareXattrs)
	return list, nil
}

// xattrFits reports whether an attribute may stand on a file of that type.
func xattrFits(name string, t Type) bool {
	switch {
	case t == Symlink:
		return false
	case strings.HasPrefix(name, "user."):
		return t == Dir || t == File
	case name == capability:
		return t == File
	case name == "system.posix_acl_default":
		return t == Dir
	default:
		return true
	}
}
