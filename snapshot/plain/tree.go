package plain

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"builder/snapshot"
)

// version is the format of a tree's note; docs/format.md describes it.
const version = 1

// maxNote bounds what is read of a note.
const maxNote = 4096

// note is what the file beside a tree's files says.
type note struct {
	id, parent snapshot.ID
	// begun and born are when the tree's own layer was written, in nanoseconds
	// since 1970.
	begun, born int64
}

func (n note) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "builder plain tree %d\nid %s\nparent %s\nbegun %d\nborn %d\n", version, n.id, n.parent, n.begun, n.born)
	sum := sha256.Sum256(b.Bytes())
	fmt.Fprintf(&b, "sum %x\n", sum)
	return b.Bytes()
}

var errNote = errors.New("not a tree's note of this version")

// decode parses what encode returned.
func decode(text []byte) (note, error) {
	const sumLine = len("sum ") + 2*sha256.Size + 1
	if len(text) < sumLine {
		return note{}, errNote
	}
	body, last := text[:len(text)-sumLine], text[len(text)-sumLine:]
	sum := sha256.Sum256(body)
	if string(last) != "sum "+hex.EncodeToString(sum[:])+"\n" {
		return note{}, errNote
	}
	var n note
	var v int
	var id, parent string
	_, err := fmt.Sscanf(string(body), "builder plain tree %d\nid %s\nparent %s\nbegun %d\nborn %d\n", &v, &id, &parent, &n.begun, &n.born)
	if err != nil || v != version {
		return note{}, errNote
	}
	if n.id, err = snapshot.ParseID(id); err != nil {
		return note{}, err
	}
	if n.parent, err = snapshot.ParseID(parent); err != nil {
		return note{}, err
	}
	if !bytes.Equal(n.encode(), text) {
		return note{}, errNote
	}
	return n, nil
}
