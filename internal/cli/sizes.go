package cli

import (
	"slices"

	"builder/image"
	"builder/image/store"
)

// sized returns layers with the lengths of their tars, where they are known. A
// record has none for a layer that arrived and was read only later.
func (m *machine) sized(layers []image.Layer) []image.Layer {
	layers = slices.Clone(layers)
	for i, l := range layers {
		if n, ok := m.depot.TarSize(l); ok {
			layers[i].Size = n
		}
	}
	return layers
}

// sizes adds up layers for lists that show many images. Each layer is looked up once.
type sizes struct {
	m     *machine
	known map[image.Digest]int64
}

func (m *machine) sizes() sizes { return sizes{m, map[image.Digest]int64{}} }

// layer is the length of a layer's tar, or of its blob where that is all that is known.
func (s sizes) layer(l image.Layer) int64 {
	if l.Size > 0 {
		return l.Size
	}
	n, ok := s.known[l.DiffID]
	if !ok {
		if n, ok = s.m.depot.TarSize(l); !ok {
			return store.LayerSize(l)
		}
		s.known[l.DiffID] = n
	}
	return n
}

func (s sizes) image(r store.Record) (n int64) {
	for _, l := range r.Layers {
		n += s.layer(l)
	}
	return n
}
