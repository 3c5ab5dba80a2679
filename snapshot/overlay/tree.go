package overlay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"builder/snapshot"
)

// version is the format of tree files; docs/format.md describes it.
const version = 1

// maxTree bounds what is read of a tree file: 500 diffs take a tenth of it.
const maxTree = 1 << 20

// diff is a directory of files and when they were written, in nanoseconds since
// 1970.
type diff struct {
	name        string
	begun, born int64
}

// tree is what a tree file says.
type tree struct {
	id, parent snapshot.ID
	diffs      []diff // lowest first; the last one is the tree's own
}

// own returns the diff of the tree's own layer.
func (t tree) own() diff { return t.diffs[len(t.diffs)-1] }

// born returns when the newest file of the tree was written.
func (t tree) born() int64 {
	if len(t.diffs) == 0 {
		return 0
	}
	return t.own().born
}

// marks names the attributes by which overlayfs marks files in the diffs.
func marks(user bool) string {
	if user {
		return "user"
	}
	return "trusted"
}

func (t tree) encode(user bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "builder overlay tree %d %s\nid %s\nparent %s\n", version, marks(user), t.id, t.parent)
	for _, d := range t.diffs {
		fmt.Fprintf(&b, "diff %s %d %d\n", d.name, d.begun, d.born)
	}
	sum := sha256.Sum256(b.Bytes())
	fmt.Fprintf(&b, "sum %x\n", sum)
	return b.Bytes()
}

var errTree = errors.New("not a tree file of this version")

// decode parses a tree file. Anything that encode would not have written byte
// for byte is an error.
func decode(text []byte, user bool) (tree, error) {
	const sumLine = len("sum ") + 2*sha256.Size + 1
	if len(text) < sumLine {
		return tree{}, errTree
	}
	body, last := text[:len(text)-sumLine], text[len(text)-sumLine:]
	sum := sha256.Sum256(body)
	if string(last) != "sum "+hex.EncodeToString(sum[:])+"\n" {
		return tree{}, errTree
	}
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	if len(lines) < 4 || lines[0] != fmt.Sprintf("builder overlay tree %d %s", version, marks(user)) {
		return tree{}, errTree
	}
	var t tree
	var err error
	if t.id, err = parseID(lines[1], "id "); err != nil {
		return tree{}, err
	}
	if t.parent, err = parseID(lines[2], "parent "); err != nil {
		return tree{}, err
	}
	t.diffs = make([]diff, 0, len(lines)-3)
	for _, line := range lines[3:] {
		d, err := parseDiff(line)
		if err != nil {
			return tree{}, err
		}
		t.diffs = append(t.diffs, d)
	}
	return t, nil
}

func parseID(line, word string) (snapshot.ID, error) {
	text, ok := strings.CutPrefix(line, word)
	if !ok {
		return snapshot.ID{}, errTree
	}
	return snapshot.ParseID(text)
}

func parseDiff(line string) (diff, error) {
	f := strings.Split(line, " ")
	if len(f) != 4 || f[0] != "diff" || !isDiffName(f[1]) {
		return diff{}, errTree
	}
	begun, err1 := strconv.ParseInt(f[2], 10, 64)
	born, err2 := strconv.ParseInt(f[3], 10, 64)
	if err1 != nil || err2 != nil {
		return diff{}, errTree
	}
	return diff{f[1], begun, born}, nil
}

// isDiffName reports whether name is one that newName makes.
func isDiffName(name string) bool {
	for _, c := range name {
		if (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return len(name) == nameLength
}
