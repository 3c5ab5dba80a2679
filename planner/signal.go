package planner

import (
	"strconv"
	"strings"
)

// signals are the names of Linux' signals, real-time ones aside.
const signals = " ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP " +
	"TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ "

// validSignal reports whether text is a signal: a number that is not 0, or a
// name, with or without SIG, in any case.
func validSignal(text string) bool {
	if n, err := strconv.Atoi(text); err == nil {
		return n != 0
	}
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if name == "RTMIN" || name == "RTMAX" {
		return true
	}
	if above, ok := strings.CutPrefix(name, "RTMIN+"); ok {
		return realTime(above, 15)
	}
	if below, ok := strings.CutPrefix(name, "RTMAX-"); ok {
		return realTime(below, 14)
	}
	return name != "" && !strings.Contains(name, " ") && strings.Contains(signals, " "+name+" ")
}

// realTime reports whether text is a number from 1 to limit as it is usually written.
func realTime(text string, limit int) bool {
	n, err := strconv.Atoi(text)
	return err == nil && 1 <= n && n <= limit && strconv.Itoa(n) == text
}
