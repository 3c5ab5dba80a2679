package depot

import (
	"encoding/json"
	"os"

	"builder/image"
)

// measured remembers how long the tar of a layer from elsewhere is. It is known
// when the tar has been read, and often not before.
func (d *Depot) measured(diffID image.Digest, n int64) error {
	return d.publish(image.ForeignContent(diffID), "size", func(f *os.File) error {
		return json.NewEncoder(f).Encode(sealed{Version: formatVersion, DiffID: diffID, Size: n})
	})
}

// TarSize returns how long a layer's tar is. It is not known (ok is false) of a
// layer from elsewhere that nobody has read.
func (d *Depot) TarSize(l image.Layer) (n int64, ok bool) {
	if l.Size > 0 {
		return l.Size, true
	}
	c := image.ForeignContent(l.DiffID)
	var s sealed
	data, err := os.ReadFile(d.path(c, "size"))
	if err == nil && json.Unmarshal(data, &s) == nil && s.Version == formatVersion && s.DiffID == l.DiffID {
		return s.Size, true
	}
	if m, err := d.meta(c); err == nil && m.Foreign != nil && m.Foreign.Layer.Size > 0 {
		return m.Foreign.Layer.Size, true
	}
	return 0, false
}
