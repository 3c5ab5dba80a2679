package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"builder/image"
)

// Layout is a directory with images.
type Layout struct {
	root  *os.Root
	index ocispec.Index
}

// Entry is an image, or images for several platforms, in a layout.
type Entry struct {
	Descriptor image.Descriptor
	// Reference is the name that the layout gives to it; zero where it gives none
	// that is one. It is a stranger's word.
	Reference image.Reference
}

// Open opens a layout for reading.
func Open(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open layout: %w", err)
	}
	l := &Layout{root: root}
	if err := l.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open layout %s: %w", dir, err), root.Close())
	}
	return l, nil
}

func (l *Layout) open() error {
	version, err := readFile(l.root, image.LayoutFile, 1<<16)
	if err != nil {
		return err
	}
	var v ocispec.ImageLayout
	if err := json.Unmarshal(version, &v); err != nil {
		return fmt.Errorf("%s: %w", image.LayoutFile, err)
	}
	if v.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("%s: version %q is not %s", image.LayoutFile, v.Version, ocispec.ImageLayoutVersion)
	}
	data, err := readFile(l.root, image.LayoutIndexFile, image.MaxManifest)
	if err != nil {
		return err
	}
	l.index, err = image.ParseIndex(ocispec.MediaTypeImageIndex, data)
	return err
}

// Close closes the layout.
func (l *Layout) Close() error { return l.root.Close() }

// Entries returns what index.json lists.
func (l *Layout) Entries() []Entry {
	var all []Entry
	for _, d := range l.index.Manifests {
		if image.CheckManifestType(d.MediaType) == nil {
			ref, _ := image.LayoutName(d)
			all = append(all, Entry{Descriptor: d, Reference: ref})
		}
	}
	return all
}

// Image returns the image of an entry; of several the one that fits want.
func (l *Layout) Image(ctx context.Context, e Entry, want image.Platform) (image.Packed, error) {
	return image.UnpackLayout(e.Descriptor, want, func(d image.Descriptor) ([]byte, error) {
		data, err := readFile(l.root, image.LayoutPath(d.Digest), min(d.Size, image.MaxConfig))
		if err != nil {
			return nil, err
		}
		if got := digest.FromBytes(data); got != d.Digest || int64(len(data)) != d.Size {
			return nil, fmt.Errorf("blob %s has digest %s and %d bytes, not %d", d.Digest, got, len(data), d.Size)
		}
		return data, nil
	})
}

// Open opens a blob. Its bytes are not verified here: who stores them does.
func (l *Layout) Open(_ context.Context, d image.Descriptor) (io.ReadCloser, error) {
	if err := image.CheckDigest(d.Digest); err != nil {
		return nil, err
	}
	return openRegular(l.root, image.LayoutPath(d.Digest))
}

// openRegular opens a file that is a regular one: a pipe does not block it.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return data, err
}

// Write adds images to the layout in a directory, which is made where it is
// missing. A name that the layout has already means the new image then.
func Write(ctx context.Context, dir string, images []image.Export) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	if err := errors.Join(write(ctx, root, images), root.Close()); err != nil {
		return fmt.Errorf("write layout %s: %w", dir, err)
	}
	return nil
}

func write(ctx context.Context, root *os.Root, images []image.Export) error {
	if err := root.MkdirAll("blobs/sha256", 0o755); err != nil {
		return err
	}
	manifests, err := present(root)
	if err != nil {
		return err
	}
	for _, e := range images {
		if err := writeBlobs(ctx, root, e); err != nil {
			return err
		}
		added, err := image.LayoutDescriptors(e)
		if err != nil {
			return err
		}
		manifests = append(slices.DeleteFunc(manifests, func(d image.Descriptor) bool { return replaced(d, added) }), added...)
	}
	index, err := image.LayoutIndex(manifests)
	if err != nil {
		return err
	}
	return errors.Join(
		writeFile(root, image.LayoutFile, []byte(image.LayoutVersion)),
		writeFile(root, image.LayoutIndexFile, index))
}

// present returns what an index.json that is there lists.
func present(root *os.Root) ([]image.Descriptor, error) {
	data, err := readFile(root, image.LayoutIndexFile, image.MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	x, err := image.ParseIndex(ocispec.MediaTypeImageIndex, data)
	return x.Manifests, err
}

// replaced reports whether d makes room: for the same name, or for the same image
// where it has none.
func replaced(d image.Descriptor, added []image.Descriptor) bool {
	old, named := image.LayoutName(d)
	return slices.ContainsFunc(added, func(a image.Descriptor) bool {
		ref, ok := image.LayoutName(a)
		return named && ok && ref == old || !named && a.Digest == d.Digest
	})
}

func writeBlobs(ctx context.Context, root *os.Root, e image.Export) error {
	for _, m := range e.Members {
		if err := writeBlobs(ctx, root, m); err != nil {
			return err
		}
	}
	if len(e.Members) > 0 {
		return writeFile(root, image.LayoutPath(e.Manifest.Digest), e.ManifestBytes)
	}
	for i, l := range e.Layers {
		if err := writeBlob(ctx, root, l, e.Blobs); err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(e.Layers), err)
		}
	}
	return errors.Join(
		writeFile(root, image.LayoutPath(e.Config.Digest), e.ConfigBytes),
		writeFile(root, image.LayoutPath(e.Manifest.Digest), e.ManifestBytes))
}

func writeBlob(ctx context.Context, root *os.Root, d image.Descriptor, blobs image.Blobs) error {
	name := image.LayoutPath(d.Digest)
	if st, err := root.Lstat(name); err == nil && st.Mode().IsRegular() && st.Size() == d.Size {
		return nil
	}
	r, err := blobs.Open(ctx, d)
	if err != nil {
		return err
	}
	return errors.Join(replace(root, name, func(f *os.File) error {
		hash := digest.Canonical.Digester()
		n, err := io.Copy(io.MultiWriter(f, hash.Hash()), r)
		if err != nil {
			return err
		}
		if n != d.Size || hash.Digest() != d.Digest {
			return fmt.Errorf("blob %s has %d bytes, not %d, and digest %s", d.Digest, n, d.Size, hash.Digest())
		}
		return nil
	}), r.Close())
}

func writeFile(root *os.Root, name string, data []byte) error {
	return replace(root, name, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// replace writes a file under another name beside it and gives it its own when
// it is complete.
func replace(root *os.Root, name string, fill func(*os.File) error) error {
	temp := path.Join(path.Dir(name), fmt.Sprintf(".%s.%d", path.Base(name), os.Getpid()))
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = errors.Join(fill(f), f.Close())
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return nil
}
