// Command builder turns a Dockerfile into an OCI image.
package main

import (
	"os"

	"builder/executor/sandbox"
	"builder/internal/cli"
)

func main() {
	sandbox.Init()
	os.Exit(cli.Main())
}
