package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Overlay says what an overlay is made of.
type Overlay struct {
	Lower []string // directories, topmost first; at least one, two without Upper; at most 500
	Upper string   // the writable layer, or empty
	Work  string   // an empty directory on Upper's file system
	// UserXattr keeps the overlay's marks in user.overlay.*, as user namespaces need it.
	UserXattr bool
	// Volatile leaves out every sync; after a crash Upper is of no use.
	Volatile bool
}

// OpenOverlay makes an overlay that is mounted nowhere and returns its root:
// fsopen(2), fsconfig(2), fsmount(2), Linux 6.7 for lowerdir+. It is gone when
// the descriptor is closed, unless it was attached with move_mount(2). Its
// upper directory will be an exact difference: no index, no metacopy, no
// redirects.
func OpenOverlay(o Overlay) (*os.File, error) {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen overlay", err)
	}
	defer unix.Close(fd)
	for _, s := range o.settings() {
		if s.value == "" {
			err = unix.FsconfigSetFlag(fd, s.name)
		} else {
			err = unix.FsconfigSetString(fd, s.name, s.value)
		}
		if err != nil {
			return nil, &os.PathError{Op: "overlay " + s.name, Path: s.value, Err: err}
		}
	}
	if err := retry(func() error { return unix.FsconfigCreate(fd) }); err != nil {
		return nil, &os.PathError{Op: "mount overlay", Path: o.Upper, Err: err}
	}
	attr := 0
	if o.Upper == "" {
		attr = unix.MOUNT_ATTR_RDONLY
	}
	root, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return nil, os.NewSyscallError("fsmount overlay", err)
	}
	return os.NewFile(uintptr(root), "overlay"), nil
}

type overlaySetting struct{ name, value string }

func (o Overlay) settings() []overlaySetting {
	var list []overlaySetting
	for _, dir := range o.Lower {
		list = append(list, overlaySetting{"lowerdir+", dir})
	}
	if o.Upper != "" {
		list = append(list, overlaySetting{"upperdir", o.Upper}, overlaySetting{"workdir", o.Work})
	}
	if o.UserXattr {
		// With userxattr the kernel refuses to be told about metacopy and index.
		list = append(list, overlaySetting{"userxattr", ""}, overlaySetting{"redirect_dir", "nofollow"})
	} else {
		list = append(list, overlaySetting{"index", "off"}, overlaySetting{"metacopy", "off"},
			overlaySetting{"redirect_dir", "off"}, overlaySetting{"xino", "off"})
	}
	if o.Volatile && o.Upper != "" {
		list = append(list, overlaySetting{"volatile", ""})
	}
	return list
}
