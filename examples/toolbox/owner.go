package main

import (
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// owner reads USER, USER:GROUP, USER: or :GROUP; -1 means unchanged. Names are
// looked up in /etc/passwd and /etc/group.
func (p *process) owner(text string) (uid, gid int) {
	uid, gid = -1, -1
	name, group, both := strings.Cut(text, ":")
	if name != "" {
		if n, err := strconv.Atoi(name); err == nil {
			uid = n
		} else {
			u, err := user.Lookup(name)
			p.must(err)
			uid, _ = strconv.Atoi(u.Uid)
			if both && group == "" {
				gid, _ = strconv.Atoi(u.Gid)
			}
		}
	}
	if group != "" {
		gid = p.group(group)
	}
	return uid, gid
}

func (p *process) group(name string) int {
	if n, err := strconv.Atoi(name); err == nil {
		return n
	}
	g, err := user.LookupGroup(name)
	p.must(err)
	gid, _ := strconv.Atoi(g.Gid)
	return gid
}

// userName returns the name of a user, or its number if it has none.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

func groupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}

func id(p *process) {
	o := p.options("ugnG", map[string]byte{"user": 'u', "group": 'g', "name": 'n', "groups": 'G'})
	uid, gid := os.Geteuid(), os.Getegid()
	groups, err := os.Getgroups()
	p.must(err)
	if len(o.operands) > 0 {
		uid, gid, groups = p.account(o.operands[0])
	}
	if !slices.Contains(groups, gid) {
		groups = append([]int{gid}, groups...)
	}
	show := func(n int, name func(int) string) string {
		if o.has("n") {
			return name(n)
		}
		return strconv.Itoa(n)
	}
	switch {
	case o.has("u"):
		p.println(show(uid, userName))
	case o.has("g"):
		p.println(show(gid, groupName))
	case o.has("G"):
		var words []string
		for _, g := range groups {
			words = append(words, show(g, groupName))
		}
		p.println(strings.Join(words, " "))
	default:
		var words []string
		for _, g := range groups {
			words = append(words, named(g, groupName))
		}
		p.printf("uid=%s gid=%s groups=%s\n", named(uid, userName), named(gid, groupName), strings.Join(words, ","))
	}
}

// named writes 0(root), or 12 where there is no name.
func named(n int, name func(int) string) string {
	number := strconv.Itoa(n)
	if s := name(n); s != number {
		return number + "(" + s + ")"
	}
	return number
}

func (p *process) account(name string) (uid, gid int, groups []int) {
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	p.must(err)
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	list, err := u.GroupIds()
	p.must(err)
	for _, text := range list {
		if n, err := strconv.Atoi(text); err == nil {
			groups = append(groups, n)
		}
	}
	return uid, gid, groups
}

func whoami(p *process) { p.println(userName(os.Geteuid())) }

func ioctlIsTerminal(fd uintptr) bool {
	_, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
	return err == nil
}
