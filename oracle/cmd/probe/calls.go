package main

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// calls makes system calls whose arguments are wrong on purpose: what comes
// back tells a call that a filter or a missing capability refuses (EPERM,
// ENOSYS) from one that reached the kernel (EFAULT, EINVAL, EBADF).
func calls() {
	const bad = ^uintptr(0)
	for _, c := range []struct {
		name string
		nr   uintptr
		args [4]uintptr
	}{
		{"acct", unix.SYS_ACCT, [4]uintptr{bad}},
		{"add_key", unix.SYS_ADD_KEY, [4]uintptr{bad, bad, bad, 0}},
		{"bpf", unix.SYS_BPF, [4]uintptr{bad, bad, 0}},
		{"chroot", unix.SYS_CHROOT, [4]uintptr{bad}},
		{"clock_adjtime", unix.SYS_CLOCK_ADJTIME, [4]uintptr{0, bad}},
		{"clock_settime", unix.SYS_CLOCK_SETTIME, [4]uintptr{0, bad}},
		{"delete_module", unix.SYS_DELETE_MODULE, [4]uintptr{bad, 0}},
		{"fanotify_init", unix.SYS_FANOTIFY_INIT, [4]uintptr{bad, bad}},
		{"finit_module", unix.SYS_FINIT_MODULE, [4]uintptr{bad, bad, bad}},
		{"fsopen", unix.SYS_FSOPEN, [4]uintptr{bad, bad}},
		{"get_mempolicy", unix.SYS_GET_MEMPOLICY, [4]uintptr{0, 0, 0, 0}},
		{"init_module", unix.SYS_INIT_MODULE, [4]uintptr{bad, 0, bad}},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, [4]uintptr{1, bad}},
		{"kcmp", unix.SYS_KCMP, [4]uintptr{bad, bad, bad, 0}},
		{"kexec_load", unix.SYS_KEXEC_LOAD, [4]uintptr{0, bad, 0, bad}},
		{"keyctl", unix.SYS_KEYCTL, [4]uintptr{bad}},
		{"lookup_dcookie", unix.SYS_LOOKUP_DCOOKIE, [4]uintptr{bad, bad, bad}},
		{"mbind", unix.SYS_MBIND, [4]uintptr{0, 0, bad, 0}},
		{"mount", unix.SYS_MOUNT, [4]uintptr{bad, bad, bad, 0}},
		{"move_mount", unix.SYS_MOVE_MOUNT, [4]uintptr{bad, bad, bad, bad}},
		{"name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, [4]uintptr{bad, bad, bad, bad}},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [4]uintptr{bad, bad, 0}},
		{"open_tree", unix.SYS_OPEN_TREE, [4]uintptr{bad, bad, bad}},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [4]uintptr{bad, 0, 0, bad}},
		{"personality", unix.SYS_PERSONALITY, [4]uintptr{0x0400000}},
		{"pidfd_open", unix.SYS_PIDFD_OPEN, [4]uintptr{bad, bad}},
		{"pivot_root", unix.SYS_PIVOT_ROOT, [4]uintptr{bad, bad}},
		{"process_vm_readv", unix.SYS_PROCESS_VM_READV, [4]uintptr{1, bad, 1, bad}},
		{"ptrace", unix.SYS_PTRACE, [4]uintptr{bad, bad, 0, 0}},
		{"quotactl", unix.SYS_QUOTACTL, [4]uintptr{bad, bad, 0, 0}},
		{"request_key", unix.SYS_REQUEST_KEY, [4]uintptr{bad, bad, bad, 0}},
		{"setdomainname", unix.SYS_SETDOMAINNAME, [4]uintptr{bad, 1}},
		{"sethostname", unix.SYS_SETHOSTNAME, [4]uintptr{bad, 1}},
		{"setns", unix.SYS_SETNS, [4]uintptr{bad, 0}},
		{"settimeofday", unix.SYS_SETTIMEOFDAY, [4]uintptr{bad, 0}},
		{"socket alg", unix.SYS_SOCKET, [4]uintptr{unix.AF_ALG, unix.SOCK_SEQPACKET, 0}},
		{"socket packet", unix.SYS_SOCKET, [4]uintptr{unix.AF_PACKET, unix.SOCK_RAW, 0}},
		{"socket vsock", unix.SYS_SOCKET, [4]uintptr{unix.AF_VSOCK, unix.SOCK_STREAM, 0}},
		{"swapon", unix.SYS_SWAPON, [4]uintptr{bad, 0}},
		{"syslog", unix.SYS_SYSLOG, [4]uintptr{bad, 0, 0}},
		{"umount2", unix.SYS_UMOUNT2, [4]uintptr{bad, 0}},
		{"unshare user", unix.SYS_UNSHARE, [4]uintptr{unix.CLONE_NEWUSER}},
		{"unshare mount", unix.SYS_UNSHARE, [4]uintptr{unix.CLONE_NEWNS}},
		{"userfaultfd", unix.SYS_USERFAULTFD, [4]uintptr{bad}},
	} {
		fmt.Printf("%s %s\n", c.name, answer(c.nr, c.args))
	}
}

// answer names the errno with which a system call returns, or "ok".
func answer(nr uintptr, a [4]uintptr) string {
	_, _, errno := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], 0, 0)
	if errno == 0 {
		return "ok"
	}
	return unix.ErrnoName(errno)
}
