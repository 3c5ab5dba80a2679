package sandbox

import (
	"encoding/binary"
	"os"
	"unsafe"
)

// op is one system call of a program. The layout is known to the assembly that
// executes it.
type op struct {
	nr   uint64
	args [6]uint64
	// slots has a bit for each argument that is the number of a slot, in which an
	// earlier call has left its result.
	slots uint64
	// out is the slot for the result, or noSlot.
	out uint64
	// tolerate holds up to four error numbers that are no failure, 16 bits each.
	tolerate uint64
	// skip is how many calls are passed over after an error that is tolerated.
	skip uint64
	// result is what the call returned: a negative error number if it failed.
	result int64
	// relocate tells, two bits for each argument, what has to be added to it before
	// the program can run: see kind.
	relocate uint64
	_        uint64
}

const (
	noSlot   = ^uint64(0)
	anyError = ^uint64(0)
	maxSlots = 64 + maxMounts // one that has others in it keeps its slot
	// notRun is the result of a call that was not made.
	notRun = 1
)

// kind is what an argument is.
type kind uint64

const (
	literal kind = iota
	inData       // an offset in the program's data; becomes an address
	inFiles      // an index of the program's files; becomes a descriptor
	inSlot
)

// arg is an argument of a call as the compiler of programs sees it.
type arg struct {
	kind  kind
	value uint64
}

func num[T ~int | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64 | ~uintptr](n T) arg {
	return arg{literal, uint64(n)}
}

// atCwd is AT_FDCWD.
func atCwd() arg { return num(-100) }

// program is a list of system calls for a new process, which ends with becoming
// the command.
type program struct {
	ops    []op
	labels []string // for messages, by op
	data   []byte
	// pointers are the offsets of words in data that are offsets in data
	// themselves, and become addresses.
	pointers []int
	files    []*os.File
	slots    uint64
	free     []uint64 // slots that can be used again
	// execs are the calls that execute the command: index into ops → its path.
	execs map[int]string
	// execAt is the first call that has to do with executing the command called name.
	execAt    int
	name      string
	args, env []string
}

// newProgram returns a program in which file 0 is the status pipe, which whoever starts the
// program opens.
func newProgram(name string) *program {
	// Offset 0 of the data is eight zero bytes: the empty string.
	return &program{data: make([]byte, 8, 8<<10), files: []*os.File{nil}, execs: map[int]string{}, name: name}
}

// call adds a system call; label says what it is for.
func (p *program) call(label string, nr uintptr, args ...arg) *op {
	o := op{nr: uint64(nr), out: noSlot, result: notRun}
	for i, a := range args {
		o.args[i] = a.value
		switch a.kind {
		case inSlot:
			o.slots |= 1 << i
		default:
			o.relocate |= uint64(a.kind) << (2 * i)
		}
	}
	p.ops = append(p.ops, o)
	p.labels = append(p.labels, label)
	return &p.ops[len(p.ops)-1]
}

// release makes the slot of an argument free for others.
func (p *program) release(a arg) { p.free = append(p.free, a.value) }

// slot makes the result of o an argument for later calls.
func (p *program) slot(o *op) arg {
	if last := len(p.free) - 1; last >= 0 {
		o.out = p.free[last]
		p.free = p.free[:last]
		return arg{inSlot, o.out}
	}
	if p.slots == maxSlots {
		panic("sandbox: program has too many slots")
	}
	o.out = p.slots
	p.slots++
	return arg{inSlot, o.out}
}

// except makes the errors no failure of the program.
func (o *op) except(errs ...uint64) *op {
	for i, e := range errs {
		o.tolerate |= e << (16 * i)
	}
	return o
}

// str is a pointer to a string ended by a zero byte.
func (p *program) str(s string) arg {
	if s == "" {
		return arg{inData, 0}
	}
	return p.bytes(append([]byte(s), 0))
}

// bytes is a pointer to b.
func (p *program) bytes(b []byte) arg {
	for len(p.data)%8 != 0 {
		p.data = append(p.data, 0)
	}
	at := len(p.data)
	p.data = append(p.data, b...)
	return arg{inData, uint64(at)}
}

// words is a pointer to 64-bit words.
func (p *program) words(w ...uint64) arg {
	var b []byte
	for _, n := range w {
		b = binary.NativeEndian.AppendUint64(b, n)
	}
	return p.bytes(b)
}

// file is a descriptor of f in the new process. It stays the caller's.
func (p *program) file(f *os.File) arg {
	for i, have := range p.files {
		if have == f {
			return arg{inFiles, uint64(i)}
		}
	}
	p.files = append(p.files, f)
	return arg{inFiles, uint64(len(p.files) - 1)}
}

// strings is a pointer to a list of strings, ended by a null pointer.
func (p *program) strings(list []string) arg {
	w := make([]uint64, len(list)+1)
	for i, s := range list {
		w[i] = p.str(s).value
	}
	pointer := p.words(w...)
	for i := range list {
		p.pointers = append(p.pointers, int(pointer.value)+8*i)
	}
	return pointer
}

// load makes the program ready to run with its data at base; fd is the
// descriptor of each file.
func load(ops []op, data []byte, pointers []int, base uint64, fd func(int) int) {
	for i := range ops {
		o := &ops[i]
		for n := range o.args {
			switch kind(o.relocate >> (2 * n) & 3) {
			case inData:
				o.args[n] += base
			case inFiles:
				o.args[n] = uint64(fd(int(o.args[n])))
			}
		}
		o.relocate = 0
	}
	for _, at := range pointers {
		word := data[at : at+8]
		binary.NativeEndian.PutUint64(word, binary.NativeEndian.Uint64(word)+base)
	}
}

const opSize = int(unsafe.Sizeof(op{}))
