package depot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"builder/image"
	"builder/image/layer"
	"builder/image/store"
	"builder/snapshot"
)

// sealed is a file below "tars": what is remembered of a layer's tar with
// certain stamps.
type sealed struct {
	Version int
	DiffID  image.Digest
	Size    int64
}

// Seal returns the layer c of an image, with the digest of its tar. stamps are
// the times that the tar carries ([image.Layer.Stamps]) and those of the layers
// below; a foreign layer takes none. A tar that was hashed before is not made
// again.
func (d *Depot) Seal(ctx context.Context, c image.ContentDigest, stamps []int64) (image.Layer, error) {
	m, err := d.meta(c)
	if err != nil {
		return image.Layer{}, err
	}
	if m.Foreign != nil {
		return m.Foreign.Layer, nil
	}
	l := image.Layer{Content: c, Stamps: stamps[:min(len(stamps), m.Reach+1)]}
	if s, ok := d.sealed(c, l.Stamps); ok {
		l.DiffID, l.Size = s.DiffID, s.Size
		return l, nil
	}
	hash, size := digest.Canonical.Digester(), &counter{}
	if err := d.writeTar(ctx, io.MultiWriter(hash.Hash(), size), l); err != nil {
		return l, err
	}
	l.DiffID, l.Size = hash.Digest(), size.n
	return l, d.seal(l)
}

// WriteTar records the layer that ix, with file contents from src, describes,
// and writes it as a tar only: nobody has to read its files soon.
func (d *Depot) WriteTar(ctx context.Context, ix *layer.Index, src layer.Source, stamps []int64) (image.ContentDigest, error) {
	c := ix.Content()
	if _, err := d.Use(c); err != nil { // one that is here already stays
		return c, err
	}
	l := image.Layer{Content: c, Stamps: stamps[:min(len(stamps), reach(ix)+1)]}
	if s, ok := d.sealed(c, l.Stamps); ok && d.blobs.Has(s.DiffID) {
		return c, nil
	}
	blob, err := d.blobs.Create(ctx)
	if err != nil {
		return c, err
	}
	if err := layer.WriteTar(ctx, blob, ix.Portable(), src, l.Stamps); err != nil {
		return c, errors.Join(err, blob.Discard())
	}
	desc, err := blob.Commit()
	if err != nil {
		return c, err
	}
	l.DiffID, l.Size = desc.Digest, desc.Size
	if err := d.register(c, ix, nil); err != nil {
		return c, err
	}
	return c, d.seal(l)
}

func sealName(stamps []int64) string {
	words := make([]string, len(stamps))
	for i, s := range stamps {
		words[i] = strconv.FormatInt(s, 10)
	}
	return filepath.Join("tars", strings.Join(words, "_"))
}

func (d *Depot) sealed(c image.ContentDigest, stamps []int64) (sealed, bool) {
	var s sealed
	data, err := os.ReadFile(d.path(c, sealName(stamps)))
	if err != nil || json.Unmarshal(data, &s) != nil || s.Version != formatVersion || s.DiffID.Validate() != nil {
		return s, false
	}
	return s, true
}

func (d *Depot) seal(l image.Layer) error {
	return d.publish(l.Content, sealName(l.Stamps), func(f *os.File) error {
		return json.NewEncoder(f).Encode(sealed{Version: formatVersion, DiffID: l.DiffID, Size: l.Size})
	})
}

// tar finds a tar of the layer among the blobs.
func (d *Depot) tar(c image.ContentDigest) (image.Digest, bool) {
	names, err := os.ReadDir(d.path(c, "tars"))
	if err != nil {
		return "", false
	}
	for _, name := range names {
		var s sealed
		data, err := os.ReadFile(d.path(c, "tars", name.Name()))
		if err == nil && json.Unmarshal(data, &s) == nil && s.DiffID.Validate() == nil && d.blobs.Has(s.DiffID) {
			return s.DiffID, true
		}
	}
	return "", false
}

// writeTar makes the tar of a layer of which there is a tree, or a tar with
// other stamps.
func (d *Depot) writeTar(ctx context.Context, w io.Writer, l image.Layer) error {
	ix, err := d.Index(ctx, l.Content)
	if err != nil {
		return err
	}
	tree, ok, err := d.source(ctx, l.Content)
	if err != nil {
		return err
	}
	if ok {
		src, err := layer.OpenDir(tree.Dir)
		if err != nil {
			return fmt.Errorf("layer %s: %w", l.Content, err)
		}
		return errors.Join(layer.WriteTar(ctx, w, ix.Portable(), src, l.Stamps), src.Close())
	}
	diffID, ok := d.tar(l.Content)
	if !ok {
		return fmt.Errorf("layer %s: %w", l.Content, ErrGone)
	}
	blob, err := d.blobs.Provide(ctx, diffID)
	if err != nil {
		return err
	}
	return errors.Join(layer.WriteTar(ctx, w, ix.Portable(), layer.NewTarSource(blob), l.Stamps), blob.Close())
}

// Verify reads all of a layer's files and reports whether they are what its
// index says. What is not is forgotten: the layer is gone then.
func (d *Depot) Verify(ctx context.Context, c image.ContentDigest) (bool, error) {
	m, err := d.meta(c)
	if errors.Is(err, ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = d.writeTar(ctx, io.Discard, image.Layer{Content: c, Stamps: make([]int64, m.Reach+1)})
	if err == nil {
		return true, nil
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return false, d.forget(ctx, c)
}

// forget removes what is known of a layer, and its trees.
func (d *Depot) forget(ctx context.Context, c image.ContentDigest) error {
	marks, err := os.ReadDir(d.path(c, "trees"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget layer %s: %w", c, err)
	}
	var ids []snapshot.ID
	for _, mark := range marks {
		if id, err := snapshot.ParseID(mark.Name()); err == nil {
			ids = append(ids, id)
		}
	}
	if err := errors.Join(d.snaps.Remove(ctx, ids...), os.RemoveAll(d.path(c))); err != nil {
		return fmt.Errorf("forget layer %s: %w", c, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.indexes, c)
	return nil
}

// Tar opens the uncompressed tar of an image's layer. What is read is
// [image.Layer.DiffID]'s bytes or an error.
func (d *Depot) Tar(ctx context.Context, l image.Layer) (io.ReadCloser, error) {
	if d.blobs.Has(l.DiffID) {
		return d.blobs.Provide(ctx, l.DiffID)
	}
	m, err := d.meta(l.Content)
	if err != nil {
		return nil, err
	}
	if m.Foreign != nil && m.Foreign.Layer.Foreign() {
		r, err := d.openForeign(ctx, m.Foreign)
		if err != nil {
			return nil, err
		}
		return readCloser{newVerifier(r, l.DiffID), r}, nil
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(d.writeTar(ctx, w, l))
	}()
	return readCloser{newVerifier(r, l.DiffID), closerFunc(func() error {
		cancel()
		err := r.Close()
		<-done
		return err
	})}, nil
}

// openForeign opens a foreign layer's blob, decompressed.
func (d *Depot) openForeign(ctx context.Context, f *foreign) (io.ReadCloser, error) {
	blob, err := d.blobs.Provide(ctx, f.Layer.Blob.Digest)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", f.DiffID, err)
	}
	r, err := store.Decompress(blob)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("layer %s: %w", f.DiffID, err), blob.Close())
	}
	return readCloser{r, closerFunc(func() error { return errors.Join(r.Close(), blob.Close()) })}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// verifier passes bytes on and ends with an error instead of io.EOF where they
// were not those of the digest.
type verifier struct {
	r    io.Reader
	want image.Digest
	hash digest.Digester
	n    int64 // how many bytes passed
}

func newVerifier(r io.Reader, want image.Digest) *verifier {
	return &verifier{r: r, want: want, hash: want.Algorithm().Digester()}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Hash().Write(p[:n])
	v.n += int64(n)
	if err == io.EOF {
		if got := v.hash.Digest(); got != v.want {
			return n, fmt.Errorf("layer tar has digest %s, not %s", got, v.want)
		}
	}
	return n, err
}
