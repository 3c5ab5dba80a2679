package sandbox

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// capabilities are docker's default ones, as a bit set.
func capabilities() uint64 {
	var set uint64
	for _, c := range kept() {
		set |= 1 << c.number
	}
	return set
}

// capability is one of capabilities(7).
type capability struct {
	name   string
	number int
}

// kept are docker's default capabilities.
func kept() []capability {
	return []capability{
		{"CAP_CHOWN", unix.CAP_CHOWN}, {"CAP_DAC_OVERRIDE", unix.CAP_DAC_OVERRIDE}, {"CAP_FSETID", unix.CAP_FSETID},
		{"CAP_FOWNER", unix.CAP_FOWNER}, {"CAP_MKNOD", unix.CAP_MKNOD}, {"CAP_NET_RAW", unix.CAP_NET_RAW},
		{"CAP_SETGID", unix.CAP_SETGID}, {"CAP_SETUID", unix.CAP_SETUID}, {"CAP_SETFCAP", unix.CAP_SETFCAP},
		{"CAP_SETPCAP", unix.CAP_SETPCAP}, {"CAP_NET_BIND_SERVICE", unix.CAP_NET_BIND_SERVICE},
		{"CAP_SYS_CHROOT", unix.CAP_SYS_CHROOT}, {"CAP_KILL", unix.CAP_KILL}, {"CAP_AUDIT_WRITE", unix.CAP_AUDIT_WRITE},
	}
}

// allCapabilities is the word for all of them.
const allCapabilities = "ALL"

// capabilityNames are those of capabilities(7), in the order of their numbers.
func capabilityNames() []string {
	return strings.Fields("CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE " +
		"NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE " +
		"SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM " +
		"BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE")
}

// ParseCapability returns the name of a capability as [Capabilities] has it, "ALL" included.
func ParseCapability(text string) (name string, ok bool) {
	name = strings.TrimPrefix(strings.ToUpper(text), "CAP_")
	if name == allCapabilities {
		return name, true
	}
	_, ok = capabilityNumber(name)
	return "CAP_" + name, ok
}

func capabilityNumber(name string) (int, bool) {
	for i, n := range capabilityNames() {
		if n == strings.TrimPrefix(name, "CAP_") {
			return i, true
		}
	}
	return 0, false
}

// set is what docker makes of the two lists, as a bit set. One that was asked for by
// name, and that this process does not have, is an error.
func (c Capabilities) set() (uint64, error) {
	have, err := permitted()
	if err != nil {
		return 0, err
	}
	add, addAll, err := capabilitySet(c.Add)
	if err != nil {
		return 0, err
	}
	drop, dropAll, err := capabilitySet(c.Drop)
	if err != nil {
		return 0, err
	}
	if missing := add &^ have; missing != 0 {
		for i, n := range capabilityNames() {
			if missing>>i&1 != 0 {
				return 0, fmt.Errorf("capability CAP_%s: this process has it not to give", n)
			}
		}
	}
	switch {
	case addAll:
		return have &^ drop, nil
	case dropAll:
		return add, nil
	}
	return capabilities()&^drop | add, nil
}

func capabilitySet(names []string) (set uint64, all bool, err error) {
	for _, name := range names {
		if name == allCapabilities {
			all = true
			continue
		}
		n, ok := capabilityNumber(name)
		if !ok {
			return 0, false, fmt.Errorf("unknown capability %q", name)
		}
		set |= 1 << n
	}
	return set, all, nil
}

// filterCalls has the filter apply that goes with the capabilities.
func (b *builder) filterCalls(caps uint64) error {
	if b.spec.Unfiltered {
		return nil
	}
	if caps == capabilities() {
		filter, err := b.filter()
		if err == nil {
			b.loadFilter(filter)
		}
		return err
	}
	var names []string
	for i, n := range capabilityNames() {
		if caps>>i&1 != 0 {
			names = append(names, "CAP_"+n)
		}
	}
	filter, err := filterFor(names)
	if err == nil {
		b.loadFilter(filter)
	}
	return err
}
