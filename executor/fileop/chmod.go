package fileop

import (
	"fmt"
	"strconv"
	"strings"
)

// The bits of a mode.
const (
	setUID, setGID, sticky = 0o4000, 0o2000, 0o1000

	ownerBits, groupBits, otherBits = 0o700, 0o070, 0o007
	everybody                       = setUID | setGID | 0o777
)

// chmod is what --chmod does to modes: nothing, one mode for all, or changes.
type chmod struct {
	octal   bool
	mode    uint32
	changes []modeChange
}

// modeChange is a part of a symbolic mode: an operator and what it is about.
type modeChange struct {
	op   byte   // '+', '-', or '=' which clears first
	who  uint32 // whose bits may change
	bits uint32
	// execute sets execution for who, of directories and of what somebody could
	// execute before: the letter X.
	execute bool
	from    byte // 'u', 'g' or 'o': the permissions come from there
}

// parseChmod reads an octal or a symbolic mode, the latter as BSD's setmode(3)
// does with an umask of zero; that is where BuildKit's reading comes from.
func parseChmod(text string) (chmod, error) {
	if text == "" {
		return chmod{}, nil
	}
	wrong := fmt.Errorf("invalid mode %q: want an octal number from 0 to 07777, or a symbolic mode", text)
	if text[0] >= '0' && text[0] <= '9' {
		n, err := strconv.ParseUint(text, 8, 32)
		if err != nil || n > 0o7777 {
			return chmod{}, wrong
		}
		return chmod{octal: true, mode: uint32(n)}, nil
	}
	var c chmod
	for clause := range strings.SplitSeq(text, ",") {
		ops := strings.TrimLeft(clause, "augo")
		if ops == "" {
			return chmod{}, wrong
		}
		who := classes(clause[:len(clause)-len(ops)])
		for ops != "" {
			rest, ok := c.operation(who&^sticky, ops)
			if !ok {
				return chmod{}, wrong
			}
			ops = rest
		}
	}
	return c, nil
}

// classes returns the bits of the users that the letters name; 0 if there are none.
func classes(letters string) uint32 {
	var who uint32
	for _, c := range []byte(letters) {
		switch c {
		case 'a':
			who |= everybody
		case 'u':
			who |= setUID | ownerBits
		case 'g':
			who |= setGID | groupBits
		case 'o':
			who |= otherBits
		}
	}
	return who
}

// operation reads an operator with its permissions and returns what follows.
func (c *chmod) operation(who uint32, text string) (rest string, ok bool) {
	op := text[0]
	if op != '+' && op != '-' && op != '=' {
		return "", false
	}
	change := modeChange{op: op, who: who}
	clears, special := op == '=', who == 0 || who&^otherBits != 0
	for rest = text[1:]; rest != ""; rest = rest[1:] {
		switch letter := rest[0]; letter {
		case 'r':
			change.bits |= 0o444
		case 'w':
			change.bits |= 0o222
		case 'x':
			change.bits |= 0o111
		case 'X':
			if op == '-' {
				change.bits |= 0o111
			} else {
				change.execute = true
			}
		case 's':
			if special {
				change.bits |= setUID | setGID
			}
		case 't':
			if special {
				change.who |= sticky
				change.bits |= sticky
			}
		case 'u', 'g', 'o':
			c.finish(change, false)
			c.changes = append(c.changes, modeChange{op: op, who: change.who, from: letter})
			change.bits, change.execute, clears = 0, false, false
		default:
			c.finish(change, clears)
			return rest, letter == '+' || letter == '-' || letter == '='
		}
	}
	c.finish(change, clears)
	return "", true
}

// finish appends what has been read: the bits, if there are any or the operator
// has to clear, and then X, which only ever sets.
func (c *chmod) finish(change modeChange, clears bool) {
	execute := change.execute
	change.execute = false
	if change.bits != 0 || clears {
		c.changes = append(c.changes, change)
	}
	if execute {
		c.changes = append(c.changes, modeChange{op: '+', who: change.who, execute: true})
	}
}

// keeps reports whether the result depends on the mode before.
func (c *chmod) keeps() bool { return !c.octal }

// parents returns the mode of directories that have to be made.
func (c *chmod) parents() uint32 {
	if c.octal {
		return c.mode & 0o777
	}
	return dirMode
}

// apply returns what becomes of a mode.
func (c *chmod) apply(before uint32, isDir bool) uint32 {
	if c.octal {
		return c.mode
	}
	mode := before
	for _, change := range c.changes {
		mode = change.apply(mode, isDir || before&0o111 != 0)
	}
	return mode
}

func (m modeChange) apply(mode uint32, executable bool) uint32 {
	if m.from != 0 {
		return m.copied(mode)
	}
	who := m.who
	if who == 0 {
		who = everybody | sticky
	}
	bits := m.bits & who
	switch m.op {
	case '-':
		return mode &^ bits
	case '=':
		clear := m.who
		if clear == 0 {
			clear = everybody
		}
		mode &^= clear
	}
	if m.execute && executable {
		bits |= 0o111 & who
	}
	return mode | bits
}

// copied gives the permissions of one class to others.
func (m modeChange) copied(mode uint32) uint32 {
	shift := map[byte]int{'u': 6, 'g': 3, 'o': 0}
	value := mode >> shift[m.from] & 0o7
	for _, to := range []int{6, 3, 0} {
		if m.who != 0 && m.who&(0o4<<to) == 0 {
			continue
		}
		switch m.op {
		case '-':
			mode &^= value << to
		case '=':
			mode = mode&^(0o7<<to) | value<<to
		default:
			mode |= value << to
		}
	}
	return mode
}
