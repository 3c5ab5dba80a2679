package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"builder/image"
	"builder/image/registry"
	"builder/image/store"
	"builder/internal/progress"
)

// exportIndex brings images for several platforms to one output.
func (m *machine) exportIndex(ctx context.Context, images []made, notes indexNotes, o output, v progress.Vertex, sink progress.Sink) (delivered, error) {
	tags, err := o.tags(images[0].tags)
	if err != nil {
		return delivered{}, err
	}
	for i := range images {
		images[i].tags = tags
	}
	switch {
	case o.kind == "store" || o.kind == "docker" && o.dest == "":
		if !o.unkept {
			if err := m.keepAll(ctx, images, o); err != nil {
				return delivered{}, err
			}
		}
		if !o.push {
			return delivered{}, nil
		}
		return m.sendIndex(ctx, images, notes, o, v, sink)
	case o.kind == "registry":
		return m.sendIndex(ctx, images, notes, o, v, sink)
	case o.kind == "docker":
		return delivered{}, usage("a docker archive holds no index of several platforms").WithHint("write --output type=oci, or build one platform at a time")
	case o.kind == "oci":
		e, err := m.packIndex(ctx, images, notes, o)
		if err != nil {
			return delivered{}, err
		}
		return m.writeArchive(ctx, e, o)
	default:
		return m.exportFiles(ctx, images, o, true)
	}
}

// keepAll records images in the store and gives them their names together.
func (m *machine) keepAll(ctx context.Context, images []made, o output) error {
	names := make([]store.Name, len(images))
	for i, img := range images {
		rec, err := m.store.Add(ctx, store.Record{Layers: m.sized(img.Layers), Annotations: img.Annotations, Origin: store.FromRecipe, Made: time.Now()}, img.config)
		if err != nil {
			return err
		}
		names[i] = store.Name{ID: rec.ID, Platform: rec.Platform}
		if o.unpack {
			if _, err := m.treeOf(ctx, img.Layers); err != nil {
				return err
			}
		}
		if err := m.tagDangling(ctx, rec, img.tags, o); err != nil {
			return err
		}
	}
	if o.named.byDigest {
		return nil
	}
	for _, tag := range images[0].tags {
		for i := range names {
			names[i].Reference = tag
		}
		if err := m.store.TagAll(ctx, names); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) packIndex(ctx context.Context, images []made, notes indexNotes, o output) (image.Export, error) {
	members := make([]image.Export, len(images))
	for i, img := range images {
		var err error
		if members[i], err = m.pack(ctx, img, o); err != nil {
			return image.Export{}, err
		}
	}
	e, err := image.Join(o.form.of().Types, members, notes.index)
	e.Manifest.Annotations = notes.descriptor
	return e, err
}

// sendIndex pushes images under all their names.
func (m *machine) sendIndex(ctx context.Context, images []made, notes indexNotes, o output, v progress.Vertex, sink progress.Sink) (delivered, error) {
	var last image.Descriptor
	for _, tag := range images[0].tags {
		d, err := m.pushIndex(ctx, images, notes, tag, o, v, sink)
		if err != nil {
			return delivered{}, err
		}
		last = d
	}
	return delivered{manifest: &last}, nil
}

// pushIndex packs images and sends them as an index.
func (m *machine) pushIndex(ctx context.Context, images []made, notes indexNotes, ref image.Reference, o output, v progress.Vertex, sink progress.Sink) (image.Descriptor, error) {
	client, err := m.registryFor(o)
	if err != nil {
		return image.Descriptor{}, err
	}
	e, err := m.packIndex(ctx, images, notes, o)
	if err != nil {
		return image.Descriptor{}, err
	}
	known := map[image.Digest]string{}
	for i, member := range e.Members {
		more, err := m.knownBlobs(ref, *images[i].Image, member.Packed)
		if err != nil {
			return image.Descriptor{}, err
		}
		for digest, path := range more {
			known[digest] = path
		}
	}
	if o.named.byDigest {
		if ref, err = ref.WithOnlyDigest(e.Manifest.Digest); err != nil {
			return image.Descriptor{}, err
		}
	}
	desc, err := client.Push(ctx, ref, e.Members, registry.PushOptions{Known: known, Index: true, Annotations: notes.index, Types: o.form.of().Types, Vertex: v, Sink: sink})
	if err != nil {
		return desc, err
	}
	for i, member := range e.Members {
		err := m.store.AddManifest(ctx, member.Config.Digest, desc.Digest)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return desc, err
		}
		if err == nil {
			if err := m.tagCanonical(ctx, store.Name{Reference: ref, ID: member.Config.Digest, Platform: images[i].platform}, desc.Digest, o); err != nil {
				return desc, err
			}
		}
	}
	return desc, nil
}

// directoryOf is what the files of a platform are put into.
func directoryOf(p image.Platform) string {
	return strings.ReplaceAll(image.FormatPlatform(p), "/", "_")
}

// tagOthers gives the images that a name stands for on other platforms the new
// name as well.
func (m *machine) tagOthers(ctx context.Context, from, to image.Reference) error {
	all, err := m.store.LookupAll(ctx, from)
	if err != nil || len(all) < 2 {
		return err
	}
	names := make([]store.Name, len(all))
	for i, f := range all {
		names[i] = store.Name{Reference: to, ID: f.ID, Platform: f.Platform}
	}
	return m.store.TagAll(ctx, names)
}

// pushBuilt sends, as an index, the images that one build made for several
// platforms. ok is false where a name has just one image, or what came from a
// registry.
func (m *machine) pushBuilt(ctx context.Context, ref image.Reference, o output, f *pushFlags) (ok bool, err error) {
	all, err := m.store.LookupAll(ctx, ref)
	if err != nil || len(all) < 2 || slices.ContainsFunc(all, func(f store.Found) bool { return f.Origin != store.FromRecipe }) {
		return false, err
	}
	images := make([]made, len(all))
	for i, found := range all {
		img, config, err := m.store.Load(ctx, found.Record)
		if err != nil {
			return true, err
		}
		if _, err := m.chain(ctx, img.Layers); err != nil {
			return true, err
		}
		if err := m.complete(ctx, found.Record, f.progress.value); err != nil {
			return true, err
		}
		images[i] = made{Image: &img, config: config, tags: []image.Reference{ref}, platform: found.Platform}
	}
	view := newTransfers(f.progress.value, m.err)
	if t, ok := view.(*transfers); ok {
		t.say("The push refers to repository [%s]", ref.Name())
	}
	v := progress.Vertex{ID: "push " + ref.String(), Name: "push " + ref.Familiar()}
	view.Progress(progress.Started{Vertex: v, Time: time.Now()})
	desc, err := m.pushIndex(ctx, images, indexNotes{}, ref, o, v, view)
	view.Progress(progress.Finished{Vertex: v, Err: err, Time: time.Now()})
	if err = errors.Join(err, view.Close()); err != nil {
		return true, err
	}
	return true, m.sayPushed(ref, desc, f)
}
