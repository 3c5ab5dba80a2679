package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// maxMounts is how many mounts a step can ask for.
const maxMounts = 500

// prepareMounts makes the mounts that the caller asked for.
func (b *builder) prepareMounts() error {
	if len(b.spec.Mounts) > maxMounts {
		return fmt.Errorf("%d mounts are more than %d", len(b.spec.Mounts), maxMounts)
	}
	for _, m := range b.spec.Mounts {
		err := error(nil)
		switch {
		case m.Private != nil:
			err = b.private(m)
		case m.Tree != nil:
			err = b.tree(m)
		case m.Source == "":
			err = b.tmpfs(m)
		case m.ReadOnly:
			err = b.bind(m, unix.MOUNT_ATTR_RDONLY)
		default:
			err = b.bind(m, 0)
		}
		if err != nil {
			return fmt.Errorf("mount at %s: %w", m.Target, err)
		}
	}
	return nil
}

// show has what a mount shows attached at target: all of it, or pick.
func (b *builder) show(mount, pick *os.File, target string) error {
	return b.add(&attachment{mount: mount, pick: pick, target: path.Clean("/" + target)})
}

func (b *builder) add(a *attachment) error {
	info, err := a.dir().Stat()
	if err != nil {
		return err
	}
	if err := b.place(a, info.IsDir()); err != nil {
		return err
	}
	b.attached = append(b.attached, a)
	return nil
}

// bind shows a directory or file of the host, with attributes added.
func (b *builder) bind(m Mount, attrs uint64) error {
	mount, err := cloneHost(m.Source, m.Path)
	if err != nil {
		return err
	}
	b.keep(mount)
	if attrs != 0 {
		if err := sys.SetMount(mount, attrs, true); err != nil {
			return err
		}
	}
	return b.add(&attachment{mount: mount, target: path.Clean("/" + m.Target), lasting: !m.Stubs})
}

// cloneHost makes a second view of what path leads to in the directory source, or
// of source itself.
func cloneHost(source, path string) (_ *os.File, err error) {
	if len(splitPath(path)) == 0 {
		return sys.CloneMountTree(source)
	}
	dir, err := os.Open(source)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	in := &root{dir: dir}
	f, err := in.open(path, 0)
	if err != nil {
		return nil, err
	}
	mount, err := sys.CloneFile(f)
	return mount, errors.Join(err, f.Close())
}

// tree shows a tree, or what a path leads to in it.
func (b *builder) tree(m Mount) error {
	r, err := openRoot(*m.Tree, "")
	if err != nil {
		return err
	}
	b.keep(r.dir)
	if err := r.setTimes(m.Times); err != nil {
		return err
	}
	if m.ReadOnly {
		if err := sys.SetMount(r.dir, unix.MOUNT_ATTR_RDONLY, false); err != nil {
			return err
		}
	}
	if len(splitPath(m.Path)) == 0 {
		return b.show(r.dir, nil, m.Target)
	}
	pick, err := r.open(m.Path, 0)
	if err != nil {
		return err
	}
	return b.show(r.dir, b.keep(pick), m.Target)
}

func (b *builder) tmpfs(m Mount) error {
	mode := m.Mode
	if mode == 0 {
		mode = 0o1777
	}
	options := []sys.Option{{Name: "mode", Value: strconv.FormatUint(uint64(mode), 8)}}
	if m.Size != 0 {
		options = append(options, sys.Option{Name: "size", Value: strconv.FormatInt(m.Size, 10)})
	}
	attrs := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	if m.ReadOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	if m.NoExec {
		attrs |= unix.MOUNT_ATTR_NOEXEC
	}
	mount, err := sys.OpenFS("tmpfs", attrs, options...)
	if err != nil {
		return err
	}
	return b.show(b.keep(mount), nil, m.Target)
}

// attach puts the mounts into their places, in order: those that are late, or all
// others.
func (b *builder) attach(late bool) {
	for i, a := range b.attached {
		if a.late != late {
			continue
		}
		mount := b.file(a.mount)
		if a.pick != nil {
			mount = b.clone(a)
			a.shown = mount
		}
		if a.point != nil {
			b.move("mount at "+a.target, mount, b.file(a.point))
		} else {
			point := b.openPlace(a)
			b.move("mount at "+a.target, mount, point)
			b.release(point)
		}
		if a.pick != nil && !a.host {
			b.release(mount)
		}
		if i == 0 { // /dev
			b.move("mount at /dev/mqueue", b.newFS("mqueue", quiet), b.file(b.mqueue))
		}
	}
}

// clone makes the mount that shows what was picked of another. A mount that is
// attached nowhere cannot be cloned by older kernels, so it is put where /proc will be, for a moment.
func (b *builder) clone(a *attachment) arg {
	b.move("attach for "+a.target, b.file(a.mount), b.file(b.kernel["proc"]))
	flags := unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH
	shown := b.slot(b.call("open_tree for "+a.target, unix.SYS_OPEN_TREE, b.file(a.pick), b.str(""), num(flags)))
	b.call("detach for "+a.target, unix.SYS_UMOUNT2, b.str("/proc"), num(unix.MNT_DETACH))
	return shown
}

// openPlace opens the place of a in the mount that covers it, or in the root.
func (b *builder) openPlace(a *attachment) arg {
	how := make([]byte, 0, 24) // struct open_how
	for _, n := range []uint64{unix.O_PATH | unix.O_CLOEXEC, 0, unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS} {
		how = binary.NativeEndian.AppendUint64(how, n)
	}
	dir, name := atCwd(), a.target
	if a.on != nil {
		dir, name = a.on.shown, a.below
	}
	return b.slot(b.call("open "+a.target, unix.SYS_OPENAT2, dir, b.str(relative(name)), b.bytes(how), num(len(how))))
}

// setTimes gives files their times.
func (r *root) setTimes(times []Time) (err error) {
	slices.SortFunc(times, func(a, b Time) int { return strings.Compare(a.Path, b.Path) })
	var dir *os.File
	defer func() {
		if dir != nil {
			err = errors.Join(err, dir.Close())
		}
	}()
	at := ""
	for _, t := range times {
		parent, name := path.Split(t.Path)
		if dir == nil || parent != at {
			if dir != nil {
				if err := dir.Close(); err != nil {
					return err
				}
			}
			dir, err = openIn(r.dir, parent, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
			if gone(err) {
				dir, err = nil, nil
				continue
			}
			if err != nil {
				return err
			}
			at = parent
		}
		var st unix.Stat_t
		err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(t.Mtime)}
			err = unix.UtimesNanoAt(int(dir.Fd()), name, ts, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err != nil && !gone(err) {
			return &os.PathError{Op: "set times", Path: t.Path, Err: err}
		}
	}
	return nil
}

// gone reports whether a path does not exist, as a path without links.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}
