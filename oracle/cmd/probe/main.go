// Command probe does, inside a test base, what busybox cannot: extended
// attributes, and asking the kernel which system calls a step may make.
//
//	probe set FILE NAME VALUE   set an extended attribute; 0x… is hexadecimal
//	probe get FILE...           print the extended attributes of files
//	probe calls                 print what a list of system calls answers
//	probe limits                print the resource limits of the process
//	probe socket PATH           leave a socket there
package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 4 && args[0] == "set":
		return set(args[1], args[2], args[3])
	case len(args) > 1 && args[0] == "get":
		return get(args[1:])
	case len(args) == 1 && args[0] == "calls":
		calls()
		return nil
	case len(args) == 1 && args[0] == "limits":
		return limits()
	case len(args) == 2 && args[0] == "socket":
		return socket(args[1])
	}
	return errors.New("usage: probe set FILE NAME VALUE | get FILE... | calls | limits | socket PATH")
}

func set(path, name, value string) error {
	data := []byte(value)
	if digits, ok := strings.CutPrefix(value, "0x"); ok {
		var err error
		if data, err = hex.DecodeString(digits); err != nil {
			return fmt.Errorf("value of %s: %w", name, err)
		}
	}
	if err := unix.Lsetxattr(path, name, data, 0); err != nil {
		return &os.PathError{Op: "lsetxattr " + name, Path: path, Err: err}
	}
	return nil
}

func get(paths []string) error {
	for _, path := range paths {
		buf := make([]byte, 64<<10)
		n, err := unix.Llistxattr(path, buf)
		if err != nil {
			return &os.PathError{Op: "llistxattr", Path: path, Err: err}
		}
		names := bytes.FieldsFunc(buf[:n], func(r rune) bool { return r == 0 })
		slices.SortFunc(names, bytes.Compare)
		for _, name := range names {
			value := make([]byte, 64<<10)
			n, err := unix.Lgetxattr(path, string(name), value)
			if err != nil {
				return &os.PathError{Op: "lgetxattr " + string(name), Path: path, Err: err}
			}
			fmt.Printf("%s %s=%x\n", path, name, value[:n])
		}
	}
	return nil
}

// socket binds a socket to a path; the file outlives the process.
func socket(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Close(fd))
}

// limits leaves out nofile, which the Go runtime raises.
func limits() error {
	for _, l := range []struct {
		name     string
		resource int
	}{
		{"core", unix.RLIMIT_CORE}, {"data", unix.RLIMIT_DATA}, {"fsize", unix.RLIMIT_FSIZE},
		{"memlock", unix.RLIMIT_MEMLOCK}, {"nproc", unix.RLIMIT_NPROC},
		{"stack", unix.RLIMIT_STACK},
	} {
		var r unix.Rlimit
		if err := unix.Prlimit(0, l.resource, nil, &r); err != nil {
			return fmt.Errorf("prlimit %s: %w", l.name, err)
		}
		fmt.Printf("%s %d %d\n", l.name, r.Cur, r.Max)
	}
	return nil
}
