package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"builder/image"
	"builder/internal/sys"
)

// Origin is how an image came to this machine.
type Origin string

// The origins. A recipe outranks the others: an image that a recipe made stays
// one wherever else it arrives from.
const (
	FromRecipe Origin = "recipe"
	FromPull   Origin = "pull"
	FromImport Origin = "import"
	FromLoad   Origin = "load"
	FromCommit Origin = "commit"
)

// Record is what the store knows of an image beside its config.
type Record struct {
	ID          image.Digest
	Platform    image.Platform
	Layers      []image.Layer     // lowest first
	Annotations map[string]string `json:",omitempty"`
	// Manifests are the manifests by which registries and archives know the image.
	Manifests []image.Digest `json:",omitempty"`
	// Received are the layers' blobs by manifest or index, where they are others
	// than those of Layers: one image may be packed in more than one way. What a
	// name stands for must not depend on which of them arrived first.
	Received map[image.Digest][]image.Descriptor `json:",omitempty"`
	Origin   Origin
	// Source is the reference that the image was pulled from, in full with its
	// digest: what cannot be fetched again is worth more.
	Source string `json:",omitempty"`
	// Made is when the image was built or arrived here first.
	Made time.Time
}

// Size returns the length of all layers' tars. A layer that nobody has read
// since it was pulled counts as the blob that it came as.
func (r Record) Size() int64 {
	var n int64
	for _, l := range r.Layers {
		n += LayerSize(l)
	}
	return n
}

// LayerSize returns the length of a layer's tar, or of its blob where the tar's
// is not known.
func LayerSize(l image.Layer) int64 {
	if l.Size == 0 && l.Blob != nil {
		return l.Blob.Size
	}
	return l.Size
}

// recordHeader begins each record file and is followed by the sha256 of the
// rest, which is JSON.
const recordHeader = "builder image 1 "

func (s *Store) recordPath(id image.Digest) string {
	return filepath.Join(s.dir, "images", id.Encoded())
}

// Add records an image whose config is the given JSON; config and record become
// one image with the digest of the config as its ID. r.ID may be empty. What the
// store knows of the image already is kept: its layers, its manifests beside the
// new ones, and when it came here first. The record as it is then is returned.
func (s *Store) Add(ctx context.Context, r Record, config []byte) (Record, error) {
	c, err := image.ParseConfig(config)
	if err != nil {
		return Record{}, fmt.Errorf("add image: %w", err)
	}
	if len(r.Layers) != len(c.RootFS.DiffIDs) {
		return Record{}, fmt.Errorf("add image: it has %d layers and a config for %d", len(r.Layers), len(c.RootFS.DiffIDs))
	}
	for i, l := range r.Layers {
		if l.DiffID != c.RootFS.DiffIDs[i] {
			return Record{}, fmt.Errorf("add image: layer %d is %s and %s in the config", i, l.DiffID, c.RootFS.DiffIDs[i])
		}
	}
	id := digest.FromBytes(config)
	r.ID, r.Platform, r.Made = id, c.Platform(), r.Made.UTC()
	unlock, err := s.lock(ctx, s.recordPath(id)+".lock", nil)
	if err != nil {
		return Record{}, fmt.Errorf("add image %s: %w", id, err)
	}
	r, err = s.add(ctx, r, config)
	if err := errors.Join(err, unlock()); err != nil {
		return Record{}, fmt.Errorf("add image %s: %w", id, err)
	}
	return r, nil
}

// add is Add under the lock of the image.
func (s *Store) add(ctx context.Context, r Record, config []byte) (Record, error) {
	if _, err := s.Put(ctx, config); err != nil {
		return Record{}, err
	}
	old, known, err := s.Image(r.ID)
	if err != nil {
		return Record{}, err
	}
	if known {
		r = merge(old, r)
	}
	r.Received = others(r.Received, r.Layers)
	return r, s.writeRecord(r)
}

// others returns the lists of blobs that are not those of the layers.
func others(received map[image.Digest][]image.Descriptor, layers []image.Layer) map[image.Digest][]image.Descriptor {
	var kept map[image.Digest][]image.Descriptor
	for manifest, blobs := range received {
		if len(blobs) != len(layers) || !slices.ContainsFunc(layers, image.Layer.Foreign) {
			continue
		}
		for i, l := range layers {
			if l.Foreign() && (l.Blob == nil || l.Blob.Digest != blobs[i].Digest) {
				if kept == nil {
					kept = map[image.Digest][]image.Descriptor{}
				}
				kept[manifest] = blobs
				break
			}
		}
	}
	return kept
}

// received are the layers once more, each with the blobs that other manifests
// list for it.
func (r Record) received() []image.Layer {
	var layers []image.Layer
	for _, blobs := range r.Received {
		for i := range blobs {
			if i < len(r.Layers) {
				layers = append(layers, image.Layer{DiffID: r.Layers[i].DiffID, Blob: &blobs[i]})
			}
		}
	}
	return layers
}

// as returns the record as a manifest or an index names it: with the blobs that
// it lists.
func (r Record) as(manifest image.Digest) Record {
	blobs := r.Received[manifest]
	if len(blobs) != len(r.Layers) {
		return r
	}
	r.Layers = slices.Clone(r.Layers)
	for i := range r.Layers {
		if r.Layers[i].Foreign() {
			r.Layers[i].Blob = &blobs[i]
		}
	}
	return r
}

// merge joins what is known of one image from two sides.
func merge(old, r Record) Record {
	// A recipe that adds nothing to its base makes the base again: that stays what it is.
	nothing := r.Origin == FromRecipe && len(r.Layers) > 0 && !slices.ContainsFunc(r.Layers, func(l image.Layer) bool { return !l.Foreign() })
	r.Layers = slices.Clone(r.Layers) // the caller's
	for i, l := range old.Layers {
		// A layer that was made here can be made again; one that arrived is its
		// blob. The first is better known.
		if !l.Foreign() || r.Layers[i].Foreign() {
			size := max(l.Size, r.Layers[i].Size)
			r.Layers[i] = l
			r.Layers[i].Size = size
		}
	}
	r.Manifests = append(slices.Clone(old.Manifests), r.Manifests...)
	slices.Sort(r.Manifests)
	r.Manifests = slices.Compact(r.Manifests)
	received := maps.Clone(old.Received)
	if received == nil {
		received = map[image.Digest][]image.Descriptor{}
	}
	maps.Copy(received, r.Received)
	r.Received = received
	if old.Origin == FromRecipe || nothing {
		r.Origin = old.Origin
	}
	if r.Source == "" {
		r.Source = old.Source
	}
	if r.Annotations == nil {
		r.Annotations = old.Annotations
	}
	r.Made = old.Made
	return r
}

func (s *Store) writeRecord(r Record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.replace(s.recordPath(r.ID), seal(recordHeader, data))
}

// AddManifest remembers that an image is known by a manifest.
func (s *Store) AddManifest(ctx context.Context, id, manifest image.Digest) error {
	unlock, err := s.lock(ctx, s.recordPath(id)+".lock", nil)
	if err != nil {
		return fmt.Errorf("image %s: %w", id, err)
	}
	r, ok, err := s.Image(id)
	switch {
	case err != nil:
	case !ok:
		err = ErrNotFound
	case !slices.Contains(r.Manifests, manifest):
		r.Manifests = append(r.Manifests, manifest)
		slices.Sort(r.Manifests)
		err = s.writeRecord(r)
	}
	if err := errors.Join(err, unlock()); err != nil {
		return fmt.Errorf("image %s: %w", id, err)
	}
	return nil
}

// Image returns the record of an image. ok is false where there is none, or only
// one that a crash tore.
func (s *Store) Image(id image.Digest) (r Record, ok bool, err error) {
	return s.image(id, make([]byte, smallFile))
}

// smallFile is what nearly all records and files of names fit into.
const smallFile = 16 << 10

// image is Image with room to read the file into.
func (s *Store) image(id image.Digest, buf []byte) (r Record, ok bool, err error) {
	if err := image.CheckDigest(id); err != nil {
		return r, false, err
	}
	data, err := sys.ReadFile(s.recordPath(id), buf)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("image %s: %w", id, err)
	}
	body, ok, err := unseal(recordHeader, data)
	if err != nil || !ok {
		return r, false, err
	}
	if err := json.Unmarshal(body, &r); err != nil || r.ID != id {
		return Record{}, false, nil
	}
	return r, true, nil
}

// Config returns the config of an image, and the bytes that it stands in.
func (s *Store) Config(ctx context.Context, id image.Digest) (image.Config, []byte, error) {
	data, err := s.Read(ctx, id, image.MaxConfig)
	if err != nil {
		return image.Config{}, nil, fmt.Errorf("image %s: config: %w", id, err)
	}
	c, err := image.ParseConfig(data)
	if err != nil {
		return c, nil, fmt.Errorf("image %s: %w", id, err)
	}
	return c, data, nil
}

// Load returns an image with its config's bytes, as [Store.Pack] takes it.
func (s *Store) Load(ctx context.Context, r Record) (image.Image, []byte, error) {
	c, data, err := s.Config(ctx, r.ID)
	if err != nil {
		return image.Image{}, nil, err
	}
	return image.Image{Config: c, Layers: r.Layers, Annotations: r.Annotations}, data, nil
}

// ids returns the IDs of all records.
func (s *Store) ids() ([]image.Digest, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "images"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var ids []image.Digest
	for _, e := range entries {
		if id := image.Digest("sha256:" + e.Name()); image.CheckDigest(id) == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// seal puts a header with a checksum before the content of a small file.
func seal(header string, body []byte) []byte {
	sum := sha256.Sum256(body)
	return fmt.Appendf(nil, "%s%x\n%s", header, sum, body)
}

// unseal returns the content of a small file; ok is false where it is torn. A
// file of another version is an error: a newer program wrote it.
func unseal(header string, data []byte) (body []byte, ok bool, err error) {
	line, body, found := bytes.Cut(data, []byte("\n"))
	if !found {
		return nil, false, nil
	}
	sum, found := bytes.CutPrefix(line, []byte(header))
	if !found {
		kind := header[:strings.LastIndex(strings.TrimSuffix(header, " "), " ")+1]
		if bytes.HasPrefix(line, []byte(kind)) {
			return nil, false, fmt.Errorf("file begins with %.40q: it is of a version that this program does not know", line)
		}
		return nil, false, nil
	}
	want := sha256.Sum256(body)
	return body, string(sum) == hex.EncodeToString(want[:]), nil
}
