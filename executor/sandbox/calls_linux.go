//go:build linux && (amd64 || arm64)

package sandbox

import (
	"strconv"
	"strings"
)

//go:generate go run generate.go

// parseCalls reads a table of system calls: a number and a name in each line.
func parseCalls(table string) map[string]uint32 {
	numbers := make(map[string]uint32, strings.Count(table, "\n"))
	for line := range strings.Lines(table) {
		nr, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(nr, 10, 32)
		if err != nil {
			panic("sandbox: bad table of system calls: " + line)
		}
		numbers[name] = uint32(n)
	}
	return numbers
}
