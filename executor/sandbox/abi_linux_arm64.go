package sandbox

import "golang.org/x/sys/unix"

// tables are the ABIs that docker's profile allows on this architecture.
func tables() []abi {
	return []abi{
		{audit: unix.AUDIT_ARCH_AARCH64, numbers: parseCalls(nativeCalls)},
		{audit: unix.AUDIT_ARCH_ARM, numbers: parseCalls(compatCalls)},
	}
}
