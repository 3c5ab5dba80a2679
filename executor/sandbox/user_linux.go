package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// account is who the command runs as.
type account struct {
	uid, gid int
	groups   []int
	home     string
}

// maxUserFile is how long /etc/passwd and /etc/group may be.
const maxUserFile = 10 << 20

// findUser looks the user up in the root as BuildKit and runc do.
func (b *builder) findUser() error {
	passwd, err := b.root.read("/etc/passwd", maxUserFile)
	if err != nil && b.spec.User != "" {
		return fmt.Errorf("user %q: %w", b.spec.User, err)
	}
	b.user, err = b.lookUp(passwd)
	if err != nil {
		return fmt.Errorf("user %q: %w", b.spec.User, err)
	}
	if err := b.addGroups(); err != nil {
		return err
	}
	b.user.home = homeOf(b.user.uid, passwd)
	return nil
}

// addGroups adds the groups that the user is to have besides.
func (b *builder) addGroups() error {
	if len(b.spec.Groups) == 0 {
		return nil
	}
	group, err := b.root.read("/etc/group", maxUserFile)
	if err != nil {
		return err
	}
	for _, name := range b.spec.Groups {
		more, err := user.GetAdditionalGroups([]string{name}, bytes.NewReader(group))
		if err != nil {
			return fmt.Errorf("group %q: %w", name, err)
		}
		for _, gid := range more {
			if !slices.Contains(b.user.groups, gid) {
				b.user.groups = append(b.user.groups, gid)
			}
		}
	}
	return nil
}

func (b *builder) lookUp(passwd []byte) (account, error) {
	name := b.spec.User
	if uid, gid, ok := numericUser(name); ok {
		return account{uid: uid, gid: gid, groups: []int{gid}}, nil
	}
	group, err := b.root.read("/etc/group", maxUserFile)
	if err != nil && name != "" {
		return account{}, err
	}
	lookFor := name
	if name == "" {
		lookFor = "0"
	}
	found, err := user.GetExecUser(lookFor, nil, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		if name == "" {
			return account{groups: []int{0}}, nil
		}
		return account{}, err
	}
	groups := found.Sgids
	if !slices.Contains(groups, found.Gid) {
		groups = append([]int{found.Gid}, groups...)
	}
	return account{uid: found.Uid, gid: found.Gid, groups: groups}, nil
}

// numericUser takes "uid:gid", with "root" for 0: no file is looked at then.
func numericUser(s string) (uid, gid int, ok bool) {
	u, g, ok := strings.Cut(s, ":")
	if !ok {
		return 0, 0, false
	}
	uid, err1 := parseID(u)
	gid, err2 := parseID(g)
	return uid, gid, errors.Join(err1, err2) == nil
}

func parseID(s string) (int, error) {
	if s == "root" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err
}

// homeOf is the home directory of the first user with that number, which may be
// empty; "/" if there is no such user.
func homeOf(uid int, passwd []byte) string {
	users, err := user.ParsePasswdFilter(bytes.NewReader(passwd), func(u user.User) bool { return u.Uid == uid })
	if err != nil || len(users) == 0 {
		return "/"
	}
	return users[0].Home
}

// environment is what the command finds in its environment.
func (b *builder) environment() []string {
	env := slices.DeleteFunc(slices.Clone(b.spec.Env), func(s string) bool { return s == "HOME=" })
	if !slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "HOME=") }) {
		env = append(env, "HOME="+b.user.home)
	}
	return env
}

// dropPrivileges leaves the process what docker leaves a container: a filter on
// its system calls, some capabilities, and none of them for users other than root.
func (b *builder) dropPrivileges() error {
	if b.spec.NoNewPrivileges {
		b.call("allow no new privileges", unix.SYS_PRCTL, num(unix.PR_SET_NO_NEW_PRIVS), num(1), num(0), num(0), num(0))
	}
	if b.spec.Insecure {
		return b.keepPrivileges()
	}
	caps, err := b.spec.Capabilities.set()
	if err != nil {
		return err
	}
	if err := b.filterCalls(caps); err != nil {
		return err
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		if caps>>c&1 == 0 {
			b.call("drop capability "+strconv.Itoa(c), unix.SYS_PRCTL, num(unix.PR_CAPBSET_DROP), num(c), num(0), num(0), num(0)).
				except(uint64(unix.EINVAL))
		}
	}
	b.changeUser()
	if b.user.uid != 0 {
		caps = 0
	}
	b.clearAmbient()
	b.setCapabilities(caps, 0)
	return nil
}

// changeUser makes the process the user's.
func (b *builder) changeUser() {
	if b.machine.setgroups {
		list := make([]byte, 0, 4*len(b.user.groups))
		for _, g := range b.user.groups {
			list = nativeUint32(list, uint32(g))
		}
		b.call("setgroups", unix.SYS_SETGROUPS, num(len(b.user.groups)), b.bytes(list))
	}
	gid, uid := num(b.user.gid), num(b.user.uid)
	b.call("setresgid "+strconv.Itoa(b.user.gid), unix.SYS_SETRESGID, gid, gid, gid)
	b.call("setresuid "+strconv.Itoa(b.user.uid), unix.SYS_SETRESUID, uid, uid, uid)
}

func (b *builder) clearAmbient() {
	b.call("clear ambient capabilities", unix.SYS_PRCTL, num(unix.PR_CAP_AMBIENT), num(unix.PR_CAP_AMBIENT_CLEAR_ALL), num(0), num(0), num(0)).
		except(uint64(unix.EINVAL))
}

// setCapabilities sets those that are effective and permitted, and those that are inheritable.
func (b *builder) setCapabilities(caps, inheritable uint64) {
	header := nativeUint32(nativeUint32(nil, unix.LINUX_CAPABILITY_VERSION_3), 0)
	var data []byte
	for shift := 0; shift < 64; shift += 32 {
		data = nativeUint32(data, uint32(caps>>shift))
		data = nativeUint32(data, uint32(caps>>shift))
		data = nativeUint32(data, uint32(inheritable>>shift))
	}
	b.call("capset", unix.SYS_CAPSET, b.bytes(header), b.bytes(data))
}

// keepPrivileges leaves the process all capabilities that this one has, as a user
// other than root too.
func (b *builder) keepPrivileges() error {
	caps, err := permitted()
	if err != nil {
		return err
	}
	b.call("keep capabilities", unix.SYS_PRCTL, num(unix.PR_SET_KEEPCAPS), num(1), num(0), num(0), num(0))
	b.changeUser()
	if b.user.uid != 0 && b.spec.RootAlone {
		b.clearAmbient()
		b.setCapabilities(0, 0)
		return nil
	}
	b.setCapabilities(caps, caps)
	for c := range unix.CAP_LAST_CAP + 1 {
		if caps>>c&1 != 0 {
			b.call("raise ambient capability "+strconv.Itoa(c), unix.SYS_PRCTL, num(unix.PR_CAP_AMBIENT), num(unix.PR_CAP_AMBIENT_RAISE), num(c), num(0), num(0)).
				except(uint64(unix.EINVAL), uint64(unix.EPERM))
		}
	}
	return nil
}

// permitted are the capabilities that this process may have.
func permitted() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, os.NewSyscallError("capget", err)
	}
	return uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted), nil
}
