package sandbox

import "golang.org/x/sys/unix"

// x32Bit marks the calls of the x32 ABI, which few kernels have; they are refused.
const x32Bit = 0x40000000

// tables are the ABIs that docker's profile allows on this architecture.
func tables() []abi {
	return []abi{
		{audit: unix.AUDIT_ARCH_X86_64, numbers: parseCalls(nativeCalls), refused: x32Bit},
		{audit: unix.AUDIT_ARCH_I386, numbers: parseCalls(compatCalls)},
	}
}
