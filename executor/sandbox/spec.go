package sandbox

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

// Spec says what to run, and in what surroundings. The zero value of every
// field but Root and Args is useful.
type Spec struct {
	Root Root
	// Args is the command: a path, or a name that is looked for in the PATH of
	// Env inside the root.
	Args []string
	// Env is the whole environment, in order. HOME is added where it is missing or empty.
	Env []string
	// Dir is the absolute path of the working directory, "/" if empty. It is made
	// where it does not exist, and stays.
	Dir string
	// User is user[:group] by name or number, looked up in the root's own
	// /etc/passwd and /etc/group; empty is root.
	User string

	Hostname string // [DefaultHostname] if empty
	// Domainname is that of NIS, and stands behind Hostname in /etc/hosts.
	Domainname string
	Hosts      []Host // added to /etc/hosts
	// Address is that of the name in Hostname in /etc/hosts, 127.0.0.1 if empty.
	Address string
	Network Network
	// NetworkNamespace is what the process enters with [OwnNetwork], and Nameserver the
	// address at which names are resolved there. The file stays the caller's.
	NetworkNamespace *os.File
	Nameserver       string
	// Insecure keeps the command from nothing that this process may do itself: it has
	// all capabilities, whatever its user, no filter on its system calls, nothing is
	// masked or read-only, and the machine's devices can be reached.
	Insecure bool
	// RootAlone has only root keep its capabilities with Insecure.
	RootAlone bool
	// Capabilities says how the command's differ from docker's default ones.
	Capabilities Capabilities
	// Unfiltered leaves out the filter on system calls.
	Unfiltered bool
	// NoNewPrivileges keeps programs with set-user-ID bits or file capabilities from giving any.
	NoNewPrivileges bool
	// Groups are groups of the user's beside its own, by name or number.
	Groups []string
	// DNS takes the place of what the machine's /etc/resolv.conf says.
	DNS DNS
	// Sealed makes Root, which is writable all the same, read-only for the command.
	Sealed bool

	// Mounts are made in this order, after the sandbox's own.
	Mounts []Mount
	// Files are shown read-only at their paths.
	Files []File
	// Appended are put at the end of regular files of Root, which is writable, and taken off when the
	// command has ended. One that is not there stays missing; modes are not looked at.
	Appended []File
	// Times are of files of Root, which is writable: they get them first.
	Times []Time
	// ShmSize is the size of /dev/shm in bytes; 0 is docker's 64 MiB.
	ShmSize int64
	Rlimits []Rlimit
	// Nodes are devices of the host that the command sees in /dev.
	Nodes []Node
	// Limits bound the command as a whole; nil is none.
	Limits *Limits

	// Stdin is what the process reads; nil is /dev/null.
	Stdin *os.File
	// Stdout and Stderr are where its output goes; nil is /dev/null. An *os.File is
	// given to the process as it is, anything else is written to by a goroutine that ends
	// before Wait returns. If both are the same writer it is written to by one
	// goroutine at a time.
	Stdout, Stderr io.Writer
	// Terminal gives the process a terminal of its own in place of the three; its
	// other end is [Process.Terminal].
	Terminal bool
	// Rows and Columns are the size of the terminal's window when the command
	// starts; 0 if nobody knows. [Process.Resize] changes it.
	Rows, Columns uint16
	// Init puts a process in front of the command that forwards signals and collects orphans.
	Init bool

	// joins says that the command is started beside another one: see [Sandbox.Join].
	joins bool
}

// Capabilities are names of capabilities(7), with or without "CAP_", or "ALL", that are added to docker's
// default ones and left out of them.
type Capabilities struct{ Add, Drop []string }

// DNS says how names are resolved. What is empty is as the machine has it.
type DNS struct{ Servers, Search, Options []string }

// DefaultHostname is the name of the machine that a step sees.
const DefaultHostname = "buildkitsandbox"

// Root is what becomes the root directory. With Lower or Upper it is an overlay,
// otherwise the directory Source.
//
// An overlay with Upper is mounted volatile unless it is Durable: nothing is synced, and
// Work cannot be used for a second mount.
type Root struct {
	Source   string
	Lower    []string // topmost first
	Upper    string
	Work     string
	Writable bool
	Durable  bool
	// UserXattr keeps the overlay's marks in user.overlay.*, as user namespaces need it.
	UserXattr bool
}

// Host is a line of /etc/hosts.
type Host struct{ Name, IP string }

// Network is what the process can reach.
type Network int

const (
	// HostNetwork is the network of the process that starts the sandbox.
	HostNetwork Network = iota
	// NoNetwork is a network namespace with nothing but "lo".
	NoNetwork
	// OwnNetwork is [Spec.NetworkNamespace].
	OwnNetwork
)

// Mount shows something at Target: a directory or file of the host, a tree, a file
// or a socket that only the sandbox holds, or else a new file system in memory. What
// is missing of Target's path is made, and removed afterwards.
type Mount struct {
	Target string // absolute
	Source string // a path of the host
	Tree   *Root
	// Path is what of Source or Tree is shown, resolved in it as in a root of its own;
	// empty is all of it.
	Path     string
	Private  *Private
	ReadOnly bool
	// Stubs says that what is made in Source to be mounted upon stays there.
	Stubs bool
	// Times are of files of Tree, which can be written to: they get them first.
	Times []Time
	// Size limits a file system in memory, in bytes; 0 is half of the memory. Mode is
	// its permission bits, 01777 if 0.
	Size int64
	Mode uint32
	// NoExec keeps programs in a file system in memory from being executed.
	NoExec bool
}

// Private is a file, or with Serve a socket, that lies in memory and is seen by the
// sandbox alone. It is gone with it.
type Private struct {
	Data     []byte
	Mode     uint32 // permission bits
	UID, GID int
	// Serve answers a connection to the socket and closes it. The context ends with
	// the command; connections that are open then are closed.
	Serve func(context.Context, net.Conn)
}

// Time is a time for the regular file at a path, which leads through no link. One
// that does not exist is passed over.
type Time struct {
	Path  string
	Mtime int64 // nanoseconds since 1970
}

// Node is a device of the host at a path below /dev. Mode is its permission bits, the
// host's if 0.
type Node struct {
	Path, HostPath string
	Mode           uint32
	UID, GID       int
}

// File is a file that only the sandbox holds. Mode is its permission bits, 0644 if 0.
type File struct {
	Path string
	Data []byte
	Mode uint32
}

// Rlimit is a resource limit by the name that prlimit(1) gives it, without
// "RLIMIT_" and in lower case; a negative value is no limit.
type Rlimit struct {
	Name       string
	Soft, Hard int64
}

// ExitError is a command that did not end well.
type ExitError struct {
	Code   int // 128 + Signal where a signal ended it
	Signal int // 0 if it exited by itself
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("killed by signal %d", e.Signal)
	}
	return fmt.Sprintf("exit code: %d", e.Code)
}

// CommandError is a command that could not be started, for a reason that lies in
// the command and not in the machine. Code is what a shell and docker exit with then: 127
// for one that does not exist, 126 for one that cannot be executed.
type CommandError struct {
	Name string
	Code int
	Err  error
}

func (e *CommandError) Error() string {
	if strings.Contains(e.Name, "/") {
		return fmt.Sprintf("exec %s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("exec: %q: %v", e.Name, e.Err)
}

func (e *CommandError) Unwrap() error { return e.Err }
