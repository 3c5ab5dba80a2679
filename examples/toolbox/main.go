package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

func main() {
	name := strings.TrimPrefix(filepath.Base(os.Args[0]), "-")
	args := os.Args[1:]
	if name != "toolbox" {
		os.Exit(call(name, args))
	}
	switch {
	case len(args) == 0 || args[0] == "--list":
		fmt.Println(strings.Join(names(), "\n"))
	case args[0] == "--install" && len(args) == 2:
		if err := install(args[1]); err != nil {
			fmt.Fprintf(os.Stderr, "toolbox: %v\n", err)
			os.Exit(1)
		}
	case strings.HasPrefix(args[0], "-"):
		fmt.Fprintln(os.Stderr, "usage: toolbox NAME [ARGUMENT…] | --list | --install DIRECTORY")
		os.Exit(2)
	default:
		os.Exit(call(args[0], args[1:]))
	}
}

// call runs what name stands for as this process.
func call(name string, args []string) int {
	switch {
	case name == "true":
		return 0
	case name == "false":
		return 1
	case isShell(name):
		return shell(name, args)
	case isShellTool(name):
		return shellTool(name, args)
	}
	run := lookup(name)
	if run == nil {
		fmt.Fprintf(os.Stderr, "toolbox: no tool named %q\n", name)
		return 127
	}
	return (&process{
		ctx: context.Background(), name: name, args: args, environ: os.Environ(),
		in: os.Stdin, stdout: os.Stdout, err: os.Stderr,
	}).run(run)
}

// names returns the name of everything that toolbox can be called as, sorted.
func names() []string {
	all := append([]string{}, shellNames...)
	all = append(all, shellTools...)
	for name := range tools() {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

// install links every name to this program in directory. A name that is there
// already is left alone.
func install(directory string) error {
	self, err := os.Executable()
	if err != nil {
		self, err = filepath.Abs(os.Args[0]) // no /proc
	}
	if err != nil {
		return err
	}
	if directory, err = filepath.Abs(directory); err != nil {
		return err
	}
	target := self
	if filepath.Dir(self) == directory {
		target = filepath.Base(self)
	}
	for _, name := range names() {
		err := os.Symlink(target, filepath.Join(directory, name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
