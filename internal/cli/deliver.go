package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"builder/image"
	"builder/image/archive"
	"builder/image/layer"
	"builder/image/layout"
	"builder/image/store"
	"builder/internal/progress"
)

// delivered is an output that is done.
type delivered struct {
	manifest *image.Descriptor // what was written or pushed, where there is a manifest
	stdout   bool
}

// made is an image on its way to its outputs.
type made struct {
	*image.Image
	config []byte
	tags   []image.Reference
	// platform is what was asked for. The image may say another one, as its base
	// did; an index lists it by this one, as BuildKit's do.
	platform image.Platform
	// descriptor are annotations of the image's descriptor.
	descriptor map[string]string
}

// indexNotes are annotations of an index and of its descriptor.
type indexNotes struct{ index, descriptor map[string]string }

// deliver brings built images to their outputs, one after the other. Several
// images, or one that was asked for as an index, become an index.
func (m *machine) deliver(ctx context.Context, images []made, index bool, notes indexNotes, outputs []output, sink progress.Sink) ([]delivered, error) {
	for i := range images {
		var err error
		if images[i].config, err = images[i].Config.Encode(); err != nil {
			return nil, err
		}
	}
	var done []delivered
	for _, o := range outputs {
		v := progress.Vertex{ID: fmt.Sprintf("export %d", len(done)), Name: "exporting to " + o.title()}
		sink.Progress(progress.Started{Vertex: v, Time: time.Now()})
		var d delivered
		var err error
		if these, more := o.annotated(images, notes); index {
			d, err = m.exportIndex(ctx, these, more, o, v, sink)
		} else {
			d, err = m.export(ctx, these[0], o, v, sink)
		}
		sink.Progress(progress.Finished{Vertex: v, Err: err, Time: time.Now()})
		if err != nil {
			return done, fmt.Errorf("output %s: %w", o.title(), err)
		}
		done = append(done, d)
	}
	return done, nil
}

// annotated adds an output's own annotations.
func (o output) annotated(images []made, notes indexNotes) ([]made, indexNotes) {
	if len(o.annotations) == 0 {
		return images, notes
	}
	images = slices.Clone(images)
	for i := range images {
		img := *images[i].Image
		img.Annotations = withAnnotations(img.Annotations, annotated(o.annotations, "manifest", images[i].platform))
		images[i].Image = &img
		images[i].descriptor = withAnnotations(images[i].descriptor, annotated(o.annotations, "manifest-descriptor", images[i].platform))
	}
	notes.index = withAnnotations(notes.index, annotated(o.annotations, "index", image.Platform{}))
	notes.descriptor = withAnnotations(notes.descriptor, annotated(o.annotations, "index-descriptor", image.Platform{}))
	return images, notes
}

// title is how progress names an output.
func (o output) title() string {
	switch o.kind {
	case "store":
		return "image"
	case "oci", "docker":
		return o.kind + " image format"
	case "local", "tar":
		return "client " + o.kind
	default:
		return o.kind
	}
}

func (m *machine) export(ctx context.Context, img made, o output, v progress.Vertex, sink progress.Sink) (delivered, error) {
	tags, err := o.tags(img.tags)
	if err != nil {
		return delivered{}, err
	}
	img.tags = tags
	switch o.kind {
	case "store":
		if !o.unkept {
			if err := m.keep(ctx, img, o); err != nil {
				return delivered{}, err
			}
		}
		if !o.push {
			return delivered{}, nil
		}
		return m.send(ctx, img, o, v, sink)
	case "registry":
		return m.send(ctx, img, o, v, sink)
	case "oci", "docker":
		if o.kind == "docker" && o.dest == "" {
			return delivered{}, m.keep(ctx, img, o)
		}
		return m.archive(ctx, img, o)
	default:
		return m.exportFiles(ctx, []made{img}, o, false)
	}
}

// exportFiles brings the files of images to an output, or none to one that wants
// nothing but what the cache has.
func (m *machine) exportFiles(ctx context.Context, images []made, o output, index bool) (delivered, error) {
	switch o.kind {
	case "tar":
		return delivered{stdout: o.dest == "-"}, m.writeFile(o.dest, func(w io.Writer) error { return m.writeTrees(ctx, images, o, index, w) })
	case "local":
		return delivered{}, m.writeLocal(ctx, images, o, index)
	case "cacheonly":
		return delivered{}, nil
	default:
		return delivered{}, fmt.Errorf("type %s is not known", o.kind)
	}
}

// tags adds the names that the output itself has.
func (o output) tags(given []image.Reference) ([]image.Reference, error) {
	own, err := parseTags("--output: name", o.names)
	return append(given[:len(given):len(given)], own...), err
}

// keep records an image in the store and gives it its names.
func (m *machine) keep(ctx context.Context, img made, o output) error {
	rec, err := m.store.Add(ctx, store.Record{Layers: m.sized(img.Layers), Annotations: img.Annotations, Origin: store.FromRecipe, Made: time.Now()}, img.config)
	if err != nil {
		return err
	}
	if o.unpack {
		if _, err := m.treeOf(ctx, img.Layers); err != nil {
			return err
		}
	}
	if err := m.tagDangling(ctx, rec, img.tags, o); err != nil || o.named.byDigest {
		return err
	}
	return m.tag(ctx, rec, img.tags)
}

func (m *machine) tag(ctx context.Context, rec store.Record, tags []image.Reference) error {
	for _, tag := range tags {
		if _, err := m.store.Tag(ctx, store.Name{Reference: tag, ID: rec.ID, Platform: rec.Platform}); err != nil {
			return err
		}
	}
	return nil
}

// tagDangling gives an image that may have no name one of a prefix and its ID.
func (m *machine) tagDangling(ctx context.Context, rec store.Record, tags []image.Reference, o output) error {
	if o.named.prefix == "" || o.named.unnamed && len(tags) > 0 {
		return nil
	}
	ref, err := image.ParseReference(o.named.prefix)
	if err != nil {
		return err
	}
	if ref, err = ref.WithOnlyDigest(rec.ID); err != nil {
		return err
	}
	_, err = m.store.Tag(ctx, store.Name{Reference: ref, ID: rec.ID, Platform: rec.Platform})
	return err
}

// tagCanonical gives an image that was pushed the name with its digest.
func (m *machine) tagCanonical(ctx context.Context, n store.Name, digest image.Digest, o output) (err error) {
	if !o.named.canonical {
		return nil
	}
	if n.Reference, err = n.Reference.WithOnlyDigest(digest); err != nil {
		return err
	}
	n.Manifest = digest
	_, err = m.store.Tag(ctx, n)
	return err
}

// send pushes an image under all its names.
func (m *machine) send(ctx context.Context, img made, o output, v progress.Vertex, sink progress.Sink) (delivered, error) {
	var last image.Descriptor
	for _, tag := range img.tags {
		desc, err := m.push(ctx, *img.Image, img.config, tag, o, v, sink)
		if err != nil {
			return delivered{}, err
		}
		last = desc
	}
	return delivered{manifest: &last}, nil
}

// of translates the words of --output.
func (f form) of() image.Form {
	out := image.Form{Level: f.level, Force: f.force}
	if f.docker {
		out.Types = image.Docker
	}
	switch f.compression {
	case "zstd":
		out.Compression = image.Zstd
	case "estargz":
		out.Compression = image.EStargz
	case "uncompressed":
		out.Compression = image.Uncompressed
	}
	return out
}

// archive writes an image as an archive or as a layout.
func (m *machine) archive(ctx context.Context, img made, o output) (delivered, error) {
	e, err := m.pack(ctx, img, o)
	if err != nil {
		return delivered{}, err
	}
	return m.writeArchive(ctx, e, o)
}

// pack makes an image ready to leave in an output's form.
func (m *machine) pack(ctx context.Context, img made, o output) (image.Export, error) {
	packed, err := m.store.Pack(ctx, *img.Image, img.config, o.form.of(), m.depot)
	if err != nil {
		return image.Export{}, err
	}
	if img.platform.OS != "" {
		packed.Manifest.Platform = &img.platform
	}
	packed.Manifest.Annotations = img.descriptor
	return image.Export{Packed: packed.Packed, References: img.tags, Blobs: packed}, nil
}

func (m *machine) writeArchive(ctx context.Context, e image.Export, o output) (delivered, error) {
	export := []image.Export{e}
	d := delivered{manifest: &e.Manifest, stdout: o.dest == "-"}
	if !o.tar {
		return d, layout.Write(ctx, o.dest, export)
	}
	return d, m.writeFile(o.dest, func(w io.Writer) error {
		return archive.Write(ctx, w, export, archive.Options{Docker: o.kind == "docker"})
	})
}

// writeFile writes a file whole or not at all; "-" is standard output.
func (m *machine) writeFile(dest string, write func(io.Writer) error) error {
	if dest == "-" {
		if f, ok := m.out.(*os.File); ok && isTerminal(f) {
			return usage("an archive is not written to a terminal").WithHint("redirect standard output, or give dest=FILE")
		}
		return write(m.out)
	}
	fi, err := os.Stat(dest)
	if err == nil && fi.IsDir() {
		return usage("%q is a directory, and an archive is a file", dest)
	}
	if err == nil && !fi.Mode().IsRegular() {
		f, err := os.OpenFile(dest, os.O_WRONLY, 0) // a pipe or a device
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(dest), ".builder-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), dest)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// chain makes the layers of an image known to the depot and returns the tree's
// name there.
func (m *machine) chain(ctx context.Context, layers []image.Layer) ([]image.ContentDigest, error) {
	chain := make([]image.ContentDigest, len(layers))
	for i, l := range layers {
		chain[i] = l.Content
		var err error
		if l.Foreign() {
			_, err = m.depot.AddBase(ctx, l)
		} else {
			_, err = m.depot.Use(l.Content)
		}
		if err != nil {
			return nil, err
		}
	}
	return chain, nil
}

// flat opens an image's files as one layer.
func (m *machine) flat(ctx context.Context, img made, use func(*layer.Index, layer.Source) error) error {
	chain, err := m.chain(ctx, img.Layers)
	if err != nil {
		return err
	}
	files := m.depot.Files(chain)
	ix, err := files.Flatten(ctx, img.Layers)
	if err == nil {
		err = use(ix, files)
	}
	return errors.Join(err, files.Close())
}
