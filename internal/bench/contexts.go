package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// The recipes start from an image that each tool makes of this one.
const baseRecipe = `FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
`

// wakeRecipe makes a tool unpack the base, or whatever it does on the first use.
const wakeRecipe = `FROM %s
RUN ["/bin/sh", "-c", "exit 0"]
`

const tenSteps = `FROM %s
LABEL title="ten steps"
ENV MODE=release
WORKDIR /app
COPY f0000/00.txt lock
RUN cat lock > dependencies
RUN mkdir cache && cp dependencies cache/
COPY f0001 one
COPY f0002 two
RUN cat one/* two/* > library
COPY . all
RUN cat all/*/* > program && chmod 755 program
RUN ./program --version || true
RUN rm -r cache
CMD ["/app/program"]
`

const (
	copyAll    = "FROM %s\nCOPY . /src\n"
	copyAndRun = "FROM %s\nCOPY . /src\nRUN [\"/bin/true\"]\n"
)

func steps(n int, step string) string { return "FROM %s\n" + strings.Repeat("RUN "+step+"\n", n) }

// meanSize makes 50,000 files 143 MB.
const meanSize = 2860

// writeFiles makes n files in directories of 100, the same ones each time:
// sizes spread evenly around the mean, contents that do not compress well.
func writeFiles(dir string, n int) error {
	random := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 2*meanSize)
	for i := range n {
		folder := filepath.Join(dir, fmt.Sprintf("f%04d", i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		size := 1 + random.IntN(2*meanSize-1)
		for j := range text[:size] {
			text[j] = "abcdefghijklmnopqrstuvwxyz 012345"[random.IntN(33)]
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%02d.txt", i%100)), text[:size], 0o644); err != nil {
			return err
		}
	}
	return nil
}
