package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"builder/image"
)

// Options say which archive is written.
type Options struct {
	// Docker adds the manifest.json that `docker load` wants.
	Docker bool
}

// dockerImage is an entry of a docker archive's manifest.json:
// https://github.com/moby/docker-image-spec.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Write writes images as one archive. Blobs that images share are in it once.
func Write(ctx context.Context, w io.Writer, images []image.Export, o Options) error {
	a := &writer{tar: tar.NewWriter(w), written: map[string]bool{}}
	err := a.write(ctx, images, o)
	if err == nil {
		err = a.tar.Close()
	}
	if err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

type writer struct {
	tar     *tar.Writer
	written map[string]bool
}

func (a *writer) write(ctx context.Context, images []image.Export, o Options) error {
	var manifests []image.Descriptor
	for _, e := range images {
		d, err := image.LayoutDescriptors(e)
		if err != nil {
			return err
		}
		manifests = append(manifests, d...)
	}
	index, err := image.LayoutIndex(manifests)
	if err != nil {
		return err
	}
	if err := errors.Join(a.file(image.LayoutFile, []byte(image.LayoutVersion)), a.file(image.LayoutIndexFile, index)); err != nil {
		return err
	}
	if o.Docker {
		if err := a.dockerManifest(images); err != nil {
			return err
		}
	}
	if err := errors.Join(a.directory("blobs/"), a.directory("blobs/sha256/")); err != nil {
		return err
	}
	for _, e := range images {
		if err := a.image(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (a *writer) dockerManifest(images []image.Export) error {
	list := []dockerImage{}
	for _, e := range images {
		d := dockerImage{Config: image.LayoutPath(e.Config.Digest), Layers: []string{}}
		for _, ref := range e.References {
			if ref.Tag() != "" && ref.Digest() == "" {
				d.RepoTags = append(d.RepoTags, ref.Familiar())
			}
		}
		for _, l := range e.Layers {
			d.Layers = append(d.Layers, image.LayoutPath(l.Digest))
		}
		list = append(list, d)
	}
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return a.file("manifest.json", data)
}

// image writes the blobs of an image that are not in the archive yet.
func (a *writer) image(ctx context.Context, e image.Export) error {
	if err := a.blob(ctx, e.Manifest, bytesBlobs(e.ManifestBytes)); err != nil {
		return err
	}
	for _, m := range e.Members {
		if err := a.image(ctx, m); err != nil {
			return err
		}
	}
	if len(e.Members) > 0 {
		return nil
	}
	if err := a.blob(ctx, e.Config, bytesBlobs(e.ConfigBytes)); err != nil {
		return err
	}
	for i, l := range e.Layers {
		if err := a.blob(ctx, l, e.Blobs); err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(e.Layers), err)
		}
	}
	return nil
}

func (a *writer) blob(ctx context.Context, d image.Descriptor, blobs image.Blobs) error {
	name := image.LayoutPath(d.Digest)
	if a.written[name] {
		return nil
	}
	a.written[name] = true
	r, err := blobs.Open(ctx, d)
	if err != nil {
		return err
	}
	err = a.copy(ctx, name, d.Size, r)
	return errors.Join(err, r.Close())
}

func (a *writer) copy(ctx context.Context, name string, size int64, r io.Reader) error {
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o444, Size: size}); err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{a.tar}, contextReader{ctx, r}, make([]byte, 1<<20))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("%s, %d of %d bytes: %w", name, n, size, err)
	}
	return nil
}

func (a *writer) file(name string, data []byte) error {
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o444, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := a.tar.Write(data)
	return err
}

func (a *writer) directory(name string) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
}

// bytesBlobs is one small blob.
type bytesBlobs []byte

func (b bytesBlobs) Open(context.Context, image.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b)), nil
}

// onlyWriter hides everything but Write, so that the buffer is used.
type onlyWriter struct{ io.Writer }

// contextReader ends with the context's cause.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
