package sandbox

import (
	"errors"
	"fmt"
	"slices"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultFilter is docker's filter on system calls for docker's capabilities.
func defaultFilter() ([]bpfInstruction, error) {
	var names []string
	for _, c := range kept() {
		names = append(names, c.name)
	}
	return filterFor(names)
}

// filterFor is docker's filter on system calls for a set of capabilities.
func filterFor(capabilities []string) ([]bpfInstruction, error) {
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}}}
	profile, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, err
	}
	return compileFilter(profile, tables())
}

// loadFilter has the filter apply to everything after it. Without
// no_new_privs, which docker does not set, this takes CAP_SYS_ADMIN.
func (b *builder) loadFilter(filter []bpfInstruction) {
	var code []byte
	for _, in := range filter {
		code = append(code, byte(in.code), byte(in.code>>8), in.jt, in.jf)
		code = nativeUint32(code, in.k)
	}
	at := b.bytes(code)
	fprog := b.words(uint64(len(filter)), at.value)
	b.pointers = append(b.pointers, int(fprog.value)+8)
	b.call("load system call filter", unix.SYS_SECCOMP, num(unix.SECCOMP_SET_MODE_FILTER), num(0), fprog)
}

// abi is a way of calling the kernel: its AUDIT_ARCH number, and the numbers of its calls
// by name.
type abi struct {
	audit   uint32
	numbers map[string]uint32
	// refused are calls that are answered with ENOSYS: those from this number on
	// belong to an ABI that is not supported. 0 is none.
	refused uint32
}

// bpfInstruction is one instruction of a classic BPF program.
type bpfInstruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

const (
	bpfLoad    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	bpfEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	bpfGreater = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	bpfJump    = unix.BPF_JMP | unix.BPF_JA
	bpfAnd     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	bpfReturn  = unix.BPF_RET | unix.BPF_K

	// Offsets in struct seccomp_data.
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

// compileFilter makes a program of a profile for the ABIs of this machine. A call by
// another ABI kills the process, as in libseccomp.
func compileFilter(profile *specs.LinuxSeccomp, abis []abi) ([]bpfInstruction, error) {
	if len(abis) == 0 {
		return nil, errors.New("no table of system calls for this architecture")
	}
	fallback, err := verdict(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	code := []bpfInstruction{{bpfLoad, 0, 0, dataArch}}
	for _, a := range abis {
		body, err := compileABI(profile, a, fallback)
		if err != nil {
			return nil, err
		}
		code = append(code, bpfInstruction{bpfEqual, 1, 0, a.audit}, bpfInstruction{bpfJump, 0, 0, uint32(len(body))})
		code = append(code, body...)
	}
	return append(code, bpfInstruction{bpfReturn, 0, 0, unix.SECCOMP_RET_KILL_PROCESS}), nil
}

// verdict is the return value for an action.
func verdict(action specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	switch action {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		n := uint32(unix.EPERM)
		if errno != nil {
			n = uint32(*errno)
		}
		return unix.SECCOMP_RET_ERRNO | n&unix.SECCOMP_RET_DATA, nil
	default:
		return 0, fmt.Errorf("system call filter: action %s is not supported", action)
	}
}

// rule is what to answer if all conditions hold.
type rule struct {
	conditions []specs.LinuxSeccompArg
	verdict    uint32
}

// span is a range of numbers, up to the next span's, with the same code.
type span struct {
	first uint32
	code  []bpfInstruction
}

func compileABI(profile *specs.LinuxSeccomp, a abi, fallback uint32) ([]bpfInstruction, error) {
	rules := map[uint32][]rule{}
	for _, call := range profile.Syscalls {
		v, err := verdict(call.Action, call.ErrnoRet)
		if err != nil {
			return nil, err
		}
		for _, name := range call.Names {
			if nr, ok := a.numbers[name]; ok {
				rules[nr] = append(rules[nr], rule{call.Args, v})
			}
		}
	}
	numbers := make([]uint32, 0, len(rules))
	for nr := range rules {
		numbers = append(numbers, nr)
	}
	slices.Sort(numbers)
	spans := []span{{0, answer(fallback)}}
	add := func(first uint32, code []bpfInstruction) {
		last := &spans[len(spans)-1]
		switch {
		case slices.Equal(last.code, code):
		case last.first == first:
			last.code = code
			if n := len(spans); n > 1 && slices.Equal(spans[n-2].code, code) {
				spans = spans[:n-1]
			}
		default:
			spans = append(spans, span{first, code})
		}
	}
	for _, nr := range numbers {
		code, err := compileRules(rules[nr], fallback)
		if err != nil {
			return nil, err
		}
		add(nr, code)
		add(nr+1, answer(fallback))
	}
	if a.refused != 0 {
		add(a.refused, answer(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	}
	return append([]bpfInstruction{{bpfLoad, 0, 0, dataNumber}}, search(spans)...), nil
}

func answer(v uint32) []bpfInstruction { return []bpfInstruction{{bpfReturn, 0, 0, v}} }

// search finds the span of the number in the accumulator by halving.
func search(spans []span) []bpfInstruction {
	if len(spans) == 1 {
		return spans[0].code
	}
	half := len(spans) / 2
	low, high := search(spans[:half]), search(spans[half:])
	var code []bpfInstruction
	if pivot := spans[half].first; len(low) < 256 {
		code = []bpfInstruction{{bpfAtLeast, uint8(len(low)), 0, pivot}}
	} else {
		code = []bpfInstruction{{bpfAtLeast, 0, 1, pivot}, {bpfJump, 0, 0, uint32(len(low))}}
	}
	return append(append(code, low...), high...)
}

// compileRules tries the rules of one call in order; one without conditions is the last.
func compileRules(rules []rule, fallback uint32) ([]bpfInstruction, error) {
	var code []bpfInstruction
	if i := slices.IndexFunc(rules, func(r rule) bool { return len(r.conditions) == 0 }); i >= 0 {
		return answer(rules[i].verdict), nil
	}
	for _, r := range rules {
		body := answer(r.verdict)
		for _, c := range slices.Backward(r.conditions) {
			test, err := condition(c, len(body))
			if err != nil {
				return nil, err
			}
			body = append(test, body...)
		}
		code = append(code, body...)
	}
	return append(code, bpfInstruction{bpfReturn, 0, 0, fallback}), nil
}

// condition goes on with the next instruction if c holds, and skips so many more if it does not.
func condition(c specs.LinuxSeccompArg, skip int) ([]bpfInstruction, error) {
	if c.Index > 5 || skip > 240 {
		return nil, fmt.Errorf("system call filter: condition on argument %d", c.Index)
	}
	low := uint32(dataArgs + 8*c.Index)
	high := low + 4
	if bigEndian() {
		low, high = high, low
	}
	no, vLow, vHigh := uint8(skip), uint32(c.Value), uint32(c.Value>>32)
	switch c.Op {
	case specs.OpEqualTo:
		return []bpfInstruction{
			{bpfLoad, 0, 0, high}, {bpfEqual, 0, no + 2, vHigh},
			{bpfLoad, 0, 0, low}, {bpfEqual, 0, no, vLow},
		}, nil
	case specs.OpNotEqual:
		return []bpfInstruction{
			{bpfLoad, 0, 0, high}, {bpfEqual, 0, 2, vHigh},
			{bpfLoad, 0, 0, low}, {bpfEqual, no, 0, vLow},
		}, nil
	case specs.OpMaskedEqual:
		// ValueTwo is what the masked argument must be.
		return []bpfInstruction{
			{bpfLoad, 0, 0, high}, {bpfAnd, 0, 0, vHigh}, {bpfEqual, 0, no + 3, uint32(c.ValueTwo >> 32)},
			{bpfLoad, 0, 0, low}, {bpfAnd, 0, 0, vLow}, {bpfEqual, 0, no, uint32(c.ValueTwo)},
		}, nil
	case specs.OpGreaterEqual:
		return order(low, high, vLow, vHigh, bpfAtLeast, no), nil
	case specs.OpGreaterThan:
		return order(low, high, vLow, vHigh, bpfGreater, no), nil
	case specs.OpLessThan:
		return inverse(order(low, high, vLow, vHigh, bpfAtLeast, 1), no), nil
	case specs.OpLessEqual:
		return inverse(order(low, high, vLow, vHigh, bpfGreater, 1), no), nil
	default:
		return nil, fmt.Errorf("system call filter: operator %s is not supported", c.Op)
	}
}

// order compares 64 bits: higher words first, the lower ones if those are equal.
func order(low, high, vLow, vHigh uint32, op uint16, no uint8) []bpfInstruction {
	return []bpfInstruction{
		{bpfLoad, 0, 0, high}, {bpfGreater, 3, 0, vHigh}, {bpfEqual, 0, no + 2, vHigh},
		{bpfLoad, 0, 0, low}, {op, 0, no, vLow},
	}
}

// inverse turns a test that skips one if it fails into one that skips so many if it holds.
func inverse(test []bpfInstruction, no uint8) []bpfInstruction {
	return append(test, bpfInstruction{bpfJump, 0, 0, uint32(no)})
}

func bigEndian() bool { return nativeUint32(nil, 1)[3] == 1 }
