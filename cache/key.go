package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// KeyVersion is part of every key. It changes when the meaning of parts does:
// then everything is computed anew.
const KeyVersion = 1

// Key names a computation.
type Key [sha256.Size]byte

// String returns the key as hexadecimal digits.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// ParseKey parses what [Key.String] returned.
func ParseKey(s string) (Key, error) {
	var k Key
	if len(s) != 2*len(k) {
		return k, fmt.Errorf("key %q: want %d hexadecimal digits", s, 2*len(k))
	}
	if _, err := hex.Decode(k[:], []byte(s)); err != nil {
		return k, fmt.Errorf("key %q: %w", s, err)
	}
	return k, nil
}

// Part is one thing that a computation depends on. Its name says what it is.
type Part struct{ Name, Value string }

// Parts are all that a computation depends on, in an order that it chooses.
type Parts []Part

// Key returns the hash of the parts. Each name and value goes in with its
// length before it, so that no two lists of parts are written alike.
func (p Parts) Key() Key {
	h := sha256.New()
	buf := make([]byte, 0, 512)
	buf = append(buf, "builder key\x00"...)
	buf = binary.BigEndian.AppendUint64(buf, KeyVersion)
	buf = binary.BigEndian.AppendUint64(buf, uint64(len(p)))
	for _, part := range p {
		buf = appendString(buf, part.Name)
		buf = appendString(buf, part.Value)
		if len(buf) > 4096 {
			h.Write(buf)
			buf = buf[:0]
		}
	}
	h.Write(buf)
	return Key(h.Sum(nil))
}

func appendString(buf []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(buf, uint64(len(s))), s...)
}
