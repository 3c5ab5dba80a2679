package container

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"builder/executor/sandbox"
	"builder/image"
	"builder/internal/sys"
	"builder/snapshot"
)

// Config is what a container was made with. It never changes.
type Config struct {
	ID, Name string
	Created  time.Time
	// Image is the image's ID, ImageName what it was called, Layers its layers: the
	// container needs them, under whatever name.
	Image     image.Digest
	ImageName string
	Layers    []image.Layer
	Tree      snapshot.ID
	// Run is the image's config with what the command line changed.
	Run         image.RunConfig
	Command     []string
	Hostname    string
	Terminal    bool
	Interactive bool
	AutoRemove  bool
	StopTimeout int // seconds
	Mounts      []Mount
	Surroundings
}

// Surroundings are what a container sees beside its root and its mounts, what it may take, and what it may do. The
// zero value is docker's default.
type Surroundings struct {
	// Hosts are lines of /etc/hosts; the address may be [HostGateway].
	Hosts           []sandbox.Host       `json:",omitzero"`
	DNS             sandbox.DNS          `json:",omitzero"`
	Capabilities    sandbox.Capabilities `json:",omitzero"`
	Groups          []string             `json:",omitzero"`
	ShmSize         int64                `json:",omitzero"`
	Rlimits         []sandbox.Rlimit     `json:",omitzero"`
	Limits          sandbox.Limits       `json:",omitzero"`
	Nodes           []sandbox.Node       `json:",omitzero"`
	Domainname      string               `json:",omitzero"`
	Privileged      bool                 `json:",omitzero"`
	Unfiltered      bool                 `json:",omitzero"`
	NoNewPrivileges bool                 `json:",omitzero"`
	ReadOnly        bool                 `json:",omitzero"`
	Annotations     map[string]string    `json:",omitzero"`
	// Network is NetworkBridge and its kin, empty for the host's; Ports are those of it that are published.
	Network string `json:",omitzero"`
	Ports   []Port `json:",omitzero"`
}

// HostGateway is the word for the machine's own address.
const HostGateway = "host-gateway"

// Mount is a volume or a directory of the host that the container has.
type Mount struct {
	// Volume is the volume's name; empty for a path of the host. An anonymous volume
	// goes with the container where that is asked for.
	Volume         string
	Anonymous      bool
	Source, Target string
	ReadOnly       bool
	// Memory, where it is not nil, is a file system in memory in place of all that.
	Memory *Memory `json:",omitempty"`
}

// Memory is a file system that goes with the container's command.
type Memory struct {
	Size   int64  // bytes; 0 is half of the memory
	Mode   uint32 // permission bits; 0 is 01777
	NoExec bool
}

// Status is where a container is in its life.
type Status string

// The states of a container. Dead is one whose files are damaged: it can only be removed.
const (
	Created Status = "created"
	Running Status = "running"
	Exited  Status = "exited"
	Dead    Status = "dead"
)

// State is what has become of a container.
type State struct {
	Status            Status
	Pid               int `json:",omitempty"`
	Started, Finished time.Time
	ExitCode          int
	Error             string `json:",omitempty"`
	// Published are the ports at which the machine listens for the container, while it runs.
	Published []Port `json:",omitempty"`
}

// Container is a container as it was found.
type Container struct {
	Config
	State
	dir string
}

// ShortID is the ID as people write it.
func (c *Container) ShortID() string { return c.ID[:12] }

// LogPath is the file with the container's output.
func (c *Container) LogPath() string { return filepath.Join(c.dir, logName) }

// statusLost is the exit code of a container whose end nobody saw.
const statusLost = 255

// The files of a container's directory.
const (
	configName  = "config"
	stateName   = "state"
	aliveName   = "alive"
	controlName = "control"
	logName     = "log"
	treeName    = "tree"
	sandboxName = "sandbox"
)

const (
	configHeader = "builder container 1 "
	stateHeader  = "builder state 1 "
)

// errTorn is what a file is that a crash of the machine left half-written.
var errTorn = errors.New("file is damaged")

// encode puts a checksum before a value.
func encode(header string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return fmt.Appendf(nil, "%s%x\n%s", header, sum, body), nil
}

func decode(header, path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	line, body, _ := strings.Cut(string(data), "\n")
	sum := sha256.Sum256([]byte(body))
	if line != header+hex.EncodeToString(sum[:]) {
		return fmt.Errorf("%s: %w", path, errTorn)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		return fmt.Errorf("%s: %w", path, errTorn)
	}
	return nil
}

// writeState makes s the container's state. The caller holds the lock.
func writeState(dir string, s State) error {
	data, err := encode(stateHeader, s)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, stateName)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// load reads the container in a directory. What a dead supervisor left as
// running is told as what it is.
func load(dir string) (*Container, error) {
	c := &Container{dir: dir}
	err := decode(configHeader, filepath.Join(dir, configName), &c.Config)
	if errors.Is(err, errTorn) {
		c.Config = Config{ID: filepath.Base(dir)}
	}
	if err == nil {
		err = decode(stateHeader, filepath.Join(dir, stateName), &c.State)
	}
	if errors.Is(err, errTorn) {
		c.State = State{Status: Dead, Error: err.Error()}
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if c.Status != Running {
		return c, nil
	}
	held, err := holding(dir)
	if err != nil {
		return nil, err
	}
	if held == sys.HeldAlone {
		return c, nil
	}
	// It may have ended in the moment between.
	if err := decode(stateHeader, filepath.Join(dir, stateName), &c.State); err != nil || c.Status != Running {
		return c, err
	}
	c.State = State{Status: Exited, Started: c.Started, Finished: c.lastSeen(), ExitCode: statusLost, Error: "the process beside the container was killed"}
	return c, nil
}

// lastSeen is when a container whose end nobody saw showed a sign of life.
func (c *Container) lastSeen() time.Time {
	last := c.Started
	if st, err := os.Stat(c.LogPath()); err == nil && st.ModTime().After(last) {
		last = st.ModTime()
	}
	return last
}

func holding(dir string) (sys.Holding, error) {
	f, err := os.Open(filepath.Join(dir, aliveName))
	if err != nil {
		return sys.NotHeld, err
	}
	held, err := sys.WhoHolds(f)
	return held, errors.Join(err, f.Close())
}

// hold takes a container's lock. ok is false where it is held otherwise. A
// directory that was removed meanwhile is no container.
func hold(dir string, how sys.Holding) (f *os.File, ok bool, err error) {
	f, err = os.OpenFile(filepath.Join(dir, aliveName), os.O_RDWR, 0)
	if err != nil {
		return nil, false, err
	}
	ok, err = sys.TryHold(f, how)
	if ok && err == nil {
		_, err = os.Lstat(filepath.Join(dir, aliveName))
	}
	if !ok || err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return f, true, nil
}

// rootOf translates the snapshotter's word into the sandbox's.
func rootOf(m snapshot.Mount) sandbox.Root {
	return sandbox.Root{Source: m.Source, Lower: m.Lower, Upper: m.Upper, Work: m.Work, Writable: m.Writable, UserXattr: m.UserXattr}
}

// gone reports whether an error says that a container was removed just now.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
