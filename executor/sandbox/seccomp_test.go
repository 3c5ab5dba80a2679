package sandbox

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// evaluate runs a filter as the kernel would.
func evaluate(t *testing.T, code []bpfInstruction, data []byte) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(code); pc++ {
		in := code[pc]
		jump := func(holds bool) {
			if holds {
				pc += int(in.jt)
			} else {
				pc += int(in.jf)
			}
		}
		switch in.code {
		case bpfLoad:
			a = binary.NativeEndian.Uint32(data[in.k:])
		case bpfAnd:
			a &= in.k
		case bpfEqual:
			jump(a == in.k)
		case bpfAtLeast:
			jump(a >= in.k)
		case bpfGreater:
			jump(a > in.k)
		case bpfJump:
			pc += int(in.k)
		case bpfReturn:
			return in.k
		default:
			t.Fatalf("instruction %#x", in.code)
		}
	}
	t.Fatal("the filter has no end")
	return 0
}

// seccompData is struct seccomp_data.
func seccompData(nr, arch uint32, args [6]uint64) []byte {
	b := nativeUint32(nativeUint32(nil, nr), arch)
	b = binary.NativeEndian.AppendUint64(b, 0)
	for _, n := range args {
		b = binary.NativeEndian.AppendUint64(b, n)
	}
	return b
}

// holds is what a condition means.
func holds(c specs.LinuxSeccompArg, args [6]uint64) bool {
	v := args[c.Index]
	switch c.Op {
	case specs.OpEqualTo:
		return v == c.Value
	case specs.OpNotEqual:
		return v != c.Value
	case specs.OpMaskedEqual:
		return v&c.Value == c.ValueTwo
	case specs.OpGreaterEqual:
		return v >= c.Value
	case specs.OpGreaterThan:
		return v > c.Value
	case specs.OpLessEqual:
		return v <= c.Value
	default:
		return v < c.Value
	}
}

// naive answers a call by reading the profile.
func naive(t *testing.T, p *specs.LinuxSeccomp, a abi, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	if a.refused != 0 && nr >= a.refused {
		return unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	for _, unconditional := range []bool{true, false} {
		for _, call := range p.Syscalls {
			for _, name := range call.Names {
				if n, ok := a.numbers[name]; !ok || n != nr || (len(call.Args) == 0) != unconditional {
					continue
				}
				all := true
				for _, c := range call.Args {
					all = all && holds(c, args)
				}
				if all {
					v, err := verdict(call.Action, call.ErrnoRet)
					if err != nil {
						t.Fatal(err)
					}
					return v
				}
			}
		}
	}
	return unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
}

// The compiled filter answers every call as the profile says.
func TestFilterFollowsProfile(t *testing.T) {
	p, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
	if err != nil {
		t.Fatal(err)
	}
	// Every operator, on both halves of an argument.
	for i, op := range []specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpNotEqual, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpLessEqual, specs.OpLessThan, specs.OpMaskedEqual,
	} {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{
			Names: []string{[]string{"acct", "bpf", "reboot", "swapon", "swapoff", "mount", "umount2"}[i]}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 1, Op: op, Value: 5<<32 | 7, ValueTwo: 4<<32 | 3}, {Index: 2, Op: specs.OpEqualTo, Value: 1}},
		})
	}
	abis := tables()
	code, err := compileFilter(p, abis)
	if err != nil {
		t.Fatal(err)
	}
	if len(code) > 4096 {
		t.Fatalf("%d instructions are too many for the kernel", len(code))
	}
	interesting := []uint64{0, 1, 3, 7, 8, 0x20000, 0x20008, 0xffffffff, 40, 16, 38, 4<<32 | 3, 5<<32 | 6, 5<<32 | 7, 5<<32 | 8, 6 << 32, 4<<32 | 9, 1 << 63, 0x7e020000, 0x10000000}
	random := rand.New(rand.NewPCG(1, 2))
	for _, a := range abis {
		for nr := range uint32(600) {
			for range 60 {
				var args [6]uint64
				for i := range args {
					args[i] = interesting[random.IntN(len(interesting))]
				}
				want := naive(t, p, a, nr, args)
				if got := evaluate(t, code, seccompData(nr, a.audit, args)); got != want {
					t.Fatalf("arch %#x, call %d %x: got %#x, want %#x", a.audit, nr, args, got, want)
				}
			}
		}
	}
	if got := evaluate(t, code, seccompData(0, 0x1234, [6]uint64{})); got != unix.SECCOMP_RET_KILL_PROCESS {
		t.Errorf("an unknown architecture gets %#x", got)
	}
	if abis[0].refused != 0 {
		if got := evaluate(t, code, seccompData(abis[0].refused|1, abis[0].audit, [6]uint64{})); got != unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS) {
			t.Errorf("x32 gets %#x", got)
		}
	}
}

func TestResolvConf(t *testing.T) {
	const public = "nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n"
	for _, test := range []struct {
		host    string
		network Network
		want    string
	}{
		{"", HostNetwork, public},
		{"# x\n; y\nnameserver 127.0.0.53\n", HostNetwork, "nameserver 127.0.0.53\n"},
		{"nameserver 127.0.0.53\nsearch a b\n", NoNetwork, public + "search a b\n"},
		{"options ndots:1\nnameserver\t10.0.0.1\noptions rotate\nsearch\nsortlist 1.2.3.4\n", NoNetwork, "nameserver 10.0.0.1\noptions ndots:1 rotate\nsortlist 1.2.3.4\n"},
		{"nameserver 127.0.0.53\nnameserver 10.0.0.1\noptions edns0\nsearch a b\n", OwnNetwork, "nameserver 10.0.2.3\nsearch a b\noptions edns0\n"},
		{"", OwnNetwork, "nameserver 10.0.2.3\n"},
	} {
		if got := string(resolvConf([]byte(test.host), &Spec{Network: test.network, Nameserver: "10.0.2.3"})); got != test.want {
			t.Errorf("%q: got %q, want %q", test.host, got, test.want)
		}
	}
}
