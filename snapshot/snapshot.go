package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"time"

	"builder/image"
)

// ErrNotFound is returned for a tree that is not here, or no longer.
var ErrNotFound = errors.New("snapshot not found")

// ID names a tree by the layers it is made of. The zero ID is the empty tree.
type ID [sha256.Size]byte

// Chain returns the ID of the tree that the layer makes of parent.
func Chain(parent ID, layer image.ContentDigest) ID {
	h := sha256.New()
	h.Write([]byte("tree\x00"))
	h.Write(parent[:])
	h.Write(layer[:])
	return ID(h.Sum(nil))
}

// ParseID parses what [ID.String] returned.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("snapshot ID %q: want %d hexadecimal digits", s, 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, fmt.Errorf("snapshot ID %q: %w", s, err)
	}
	return id, nil
}

// String returns the ID as hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements [encoding.TextMarshaler] with the form of [ID.String].
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}

// IsZero reports whether id is the empty tree.
func (id ID) IsZero() bool { return id == ID{} }

// Tree is a committed tree.
type Tree struct {
	ID     ID
	Parent ID
	// Dir is a directory of the host in which every file that the tree's own layer
	// adds or modifies stands under its path. Depending on the implementation it
	// holds the rest of the tree as well, and marks of what was removed. It is
	// read-only for all but the implementation.
	Dir string
	// Born is when the files of the tree's own layer were written. A tree is never
	// older than its parent.
	Born time.Time
}

// Mount says how a tree becomes the root of a process. With Lower it is an
// overlay: directories from the topmost to the lowest, and Upper and Work when
// it is writable. Without Lower it is the directory Source, bound.
type Mount struct {
	Source   string
	Lower    []string
	Upper    string
	Work     string
	Writable bool
	// UserXattr says that the overlay's marks are user.overlay.* attributes, as in
	// a user namespace.
	UserXattr bool
}

// Whiteouts says how a removed path is written into the directory that
// [Snapshotter.Add] fills.
type Whiteouts int

const (
	// Applied: the directory is the whole tree; a removed path is removed, an
	// opaque directory is emptied first.
	Applied Whiteouts = iota
	// Trusted: a removed path is a character device 0:0, an opaque directory has
	// the attribute trusted.overlay.opaque=y.
	Trusted
	// User: as Trusted, with user.overlay.opaque.
	User
)

// Kind is what happened to a path.
type Kind int

// The kinds of change.
const (
	Modify Kind = iota // exists now: added, modified, or only copied up
	Delete             // existed in the parent, does not now
	Opaque             // a directory that now hides all that the parent had in it
)

// Change is one path at which an active tree may differ from its parent. Path
// is relative to the root, slash-separated, without a leading slash; "" is the
// root itself.
type Change struct {
	Path string
	Kind Kind
}

// Active is a writable tree.
type Active interface {
	// Mount says how to mount the tree writable.
	Mount() Mount
	// Dir is where changed files stand, as for [Tree.Dir].
	Dir() string
	// Changes lists the paths at which the tree may differ from its parent, parents
	// before children, siblings in the order of their bytes, while nobody writes to
	// it. It may list a path that is in fact equal, never leave one out. All paths below a new
	// directory are listed. Delete comes before the siblings' entries; Opaque right after its directory's Modify.
	Changes(ctx context.Context) iter.Seq2[Change, error]
}

// Snapshotter keeps trees. All methods may be called from many goroutines and
// processes at once.
type Snapshotter interface {
	// Tree returns the committed tree id; ok is false where it is not here.
	Tree(ctx context.Context, id ID) (tree Tree, ok bool, err error)
	// Mount says how to mount the committed tree id read-only.
	Mount(ctx context.Context, id ID) (Mount, error)
	// Prepare makes a writable tree equal to parent, which must be committed or zero.
	Prepare(ctx context.Context, parent ID) (Active, error)
	// Keep is Prepare for a tree that outlives this process: it lies in the directory
	// dir, on the file system of the trees, and belongs to nobody but the caller.
	// Where dir is there already, the tree that Keep made in it is returned.
	Keep(ctx context.Context, parent ID, dir string) (Active, error)
	// Commit makes a an immutable tree with the given ID. Where that is already
	// here, a is discarded and the existing tree is returned. The caller has
	// unmounted it.
	Commit(ctx context.Context, a Active, id ID) (Tree, error)
	// Discard removes an active tree.
	Discard(ctx context.Context, a Active) error
	// Add makes the tree id out of parent without mounting: fill writes the
	// changes into dir, marking removals as whiteouts says. An error of fill
	// undoes everything. Where id is already here fill is not called.
	Add(ctx context.Context, parent, id ID, fill func(dir string, whiteouts Whiteouts) error) (Tree, error)
	// Graft makes the tree id that equals parent changed by the own layer of the
	// tree from, without copying where the implementation can. changes are that layer's changes, for those that cannot. Where from's files are older than
	// parent they are copied with times moved so that none is.
	Graft(ctx context.Context, parent, id, from ID, changes iter.Seq[Change]) (Tree, error)
	// Remove moves trees out of reach; their files go when nobody uses them. One
	// that is not here is fine.
	Remove(ctx context.Context, ids ...ID) error
}
