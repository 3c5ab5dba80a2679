package planner

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"builder/image"
	"builder/internal/diag"
)

// ID names a definition: an op with the definitions of its inputs. Equal
// definitions in one graph are one step.
type ID [sha256.Size]byte

// String returns the ID as hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Graph is everything that has to be done for one target, on one platform or, where
// graphs were joined, on several.
type Graph struct {
	Outline Outline
	// Steps are in an order in which every step comes after its inputs. Only what
	// the target needs is here.
	Steps  []Step
	Result Result
	// More are the results for further platforms.
	More []Result
}

// Results are the results for all platforms.
func (g *Graph) Results() []Result { return append([]Result{g.Result}, g.More...) }

// Result is what the graph makes: the tree of a step and the config around it.
type Result struct {
	Root StepRef
	// Config is complete but for RootFS, Created and the times of its History: those
	// follow from the layers. Its history has one entry without EmptyLayer for
	// each layer of the base and each step on the way from there to Root, in order.
	Config image.Config
	// Base is when the base image says that it was created; zero for scratch and
	// where it says nothing.
	Base time.Time
	// BaseHistory is how many entries of Config.History are the base's, kept as they are.
	BaseHistory int
	// Epoch is SOURCE_DATE_EPOCH where the recipe's or the build's arguments give
	// one; nil otherwise.
	Epoch *time.Time
}

// StepRef is an index into Graph.Steps, or None.
type StepRef int

// None as a tree is the empty tree.
const None StepRef = -1

// Step is one piece of work.
type Step struct {
	ID     ID
	Op     Op
	Inputs []StepRef
	Span   diag.Span // the instruction
	Name   string    // for people: "[build 2/5] RUN make"
	Stage  string    // the stage's name, or its number
	// NoCache says that a record must not be used (but is written).
	NoCache bool
}

// Op is one of [Image], [Context], [HTTP], [Git], [Exec], [Copy], [Mkdir].
type Op interface{ op() }

// Image is a base: the layers of a manifest. It has no inputs.
type Image struct {
	Reference string // what the recipe asked for, in full form with its digest
	Digest    image.Digest
	Platform  image.Platform
	DiffIDs   []image.Digest
}

// Context is the build context's files, less those that Ignore excludes. It
// has no inputs. Ignore are the patterns of the ignore file, in docker's form.
type Context struct {
	Name   string
	Ignore []string
}

// HTTP is a file from a web server, in a directory of its own. It has no inputs.
type HTTP struct {
	URL  string
	Name string // of the file
	// Checksum is what the content has to hash to, as algorithm:hexadecimal; empty
	// takes what comes.
	Checksum string
}

// Git is a commit of a repository, checked out, or a directory of it. It has no
// inputs.
type Git struct {
	Remote string // for git, without fragment and query
	Ref    string // a branch, a tag, a ref or a commit; empty is what the remote has as HEAD
	// Checksum is a commit, or its first digits: Ref has to be it.
	Checksum string
	Subdir   string // clean and relative; empty is all of it
	// KeepGitDir leaves .git in the checkout.
	KeepGitDir bool
	// NoSubmodules leaves submodules out.
	NoSubmodules bool
	// FetchByCommit asks for Checksum and for no ref.
	FetchByCommit bool

	keepGiven bool // KeepGitDir comes from the URL
}

// Exec runs a process. Inputs[0] is its root, whose changes are its layer; the
// others are what its mounts show.
type Exec struct {
	Args []string
	Env  []string // in order, without duplicates; PATH is there, HOME is the executor's
	// ProxyEnv is given to the process and is no part of the key.
	ProxyEnv []string
	User     string // as in the config: name, uid, name:group, …; empty is root
	Dir      string // absolute
	Files    []File // shown to the process read-only, not part of the layer
	Mounts   []Mount
	Volumes  []Volume
	Network  Network
	// Proxied leads what the step asks of the network through the build's own proxy.
	Proxied bool
	// Insecure is the security mode in which the step is kept from nothing.
	Insecure bool
	Hosts    []Host
	Hostname string
	ShmSize  int64 // bytes; 0 is the default
	Ulimits  []Ulimit
	Limits   Limits
	Devices  []Device
	Platform image.Platform
}

// HostGateway, as the address of a [Host], is that at which the machine answers a step.
const HostGateway = "host-gateway"

// Network is what a step can reach.
type Network int

// The networks.
const (
	NetworkDefault Network = iota
	NetworkNone
	NetworkHost
)

// Host is a line for /etc/hosts.
type Host struct{ Name, IP string }

// Limits bound what a step takes. What is zero is not bounded.
type Limits struct {
	Memory     int64 // bytes
	MemorySwap int64 // bytes of memory and swap together; -1 is no bound
	CPUShares  uint64
	CPUPeriod  uint64 // microseconds
	CPUQuota   int64  // microseconds in each period
	CpusetCPUs string // such as "0-2,4"
	CpusetMems string
	Parent     string // a cgroup below which the step's is made
}

// Ulimit is a resource limit, by the name that prlimit(1) gives it without "RLIMIT_", lower case; -1 is no limit.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// File is a file whose content stands in the recipe.
type File struct {
	Name string // a COPY's file name, or an Exec's absolute path
	Data []byte
	Mode uint32 // permission bits; 0 means the default
}

// Copy is COPY and ADD. Inputs[0] is the tree copied into; Inputs[1], where
// Sources is not empty, the one copied from.
type Copy struct {
	Sources []string // patterns, cleaned, relative to the source's root
	Files   []File   // from heredocs, copied after the sources
	Dest    string   // absolute and clean, but for a trailing slash, which says that it is a directory
	Chown   string   // user[:group] by name or number; empty keeps root for a context and the owner for a stage
	Chmod   string   // octal, or symbolic as chmod(1) has it; empty keeps the mode
	// Unpack says that local archives are unpacked, as ADD does.
	Unpack bool
	// Context says that the source is a build context: owners become root.
	Context bool
	// Literal says that Sources are paths and no patterns.
	Literal bool
	// KeepTimes says that what is copied keeps the times that it has in the source.
	KeepTimes bool
	// Exclude are patterns of what stays behind, as in an ignore file, relative to
	// the directory that is copied. Files that are named themselves are copied.
	Exclude []string
	// Include, where it is not nil, has a pattern for each of Sources, relative to
	// what the source is: only what matches is copied, with the directories above it.
	Include []string
	// Optional says that a source which is not there is no error.
	Optional bool
	// Link says that the layer is made as if on nothing, whatever Inputs[0] is.
	Link bool
	// More are further sources, in order, each from an input of its own after Inputs[1].
	More []Part
}

// Part are sources of a [Copy] from one input; the fields are as there.
type Part struct {
	Sources, Include         []string
	Unpack, Context, Literal bool
}

// Parts returns the copy as one op for each input that is copied from, in order.
func (c Copy) Parts() []Copy {
	first := c
	first.More = nil
	parts := []Copy{first}
	for _, m := range c.More {
		part := first
		part.Sources, part.Include, part.Unpack, part.Context, part.Literal = m.Sources, m.Include, m.Unpack, m.Context, m.Literal
		parts = append(parts, part)
	}
	return parts
}

// Mkdir makes a directory and the parents that it lacks, as WORKDIR does, 0755
// and owned by User. Inputs[0] is the tree.
type Mkdir struct {
	Path string // absolute and clean
	User string // as in Exec
}

func (Image) op()   {}
func (Context) op() {}
func (HTTP) op()    {}
func (Git) op()     {}
func (Exec) op()    {}
func (Copy) op()    {}
func (Mkdir) op()   {}
