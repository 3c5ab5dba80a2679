package cli

import (
	"context"
	"fmt"
	"time"

	"builder/image"
	"builder/image/store"
	"builder/internal/progress"
)

// deliver brings a built image to its outputs, one after the other.
func (m *machine) deliver(ctx context.Context, img *image.Image, tags []image.Reference, outputs []output, sink progress.Sink) ([]delivered, error) {
	var done []delivered
	for _, o := range outputs {
		v := progress.Vertex{ID: fmt.Sprintf("export %d", len(done)), Name: "exporting to " + o.kind}
		sink.Progress(progress.Started{Vertex: v, Time: time.Now()})
		d, err := m.export(ctx, img, tags, o, v, sink)
		sink.Progress(progress.Finished{Vertex: v, Err: err, Time: time.Now()})
		if err != nil {
			return done, err
		}
		done = append(done, d)
	}
	return done, nil
}

func (m *machine) export(ctx context.Context, img *image.Image, tags []image.Reference, o output, v progress.Vertex, sink progress.Sink) (delivered, error) {
	if o.kind == "store" {
		return delivered{}, m.keep(ctx, img, tags)
	}
	return delivered{}, fmt.Errorf("not yet")
}

// keep records an image in the store and gives it its names.
func (m *machine) keep(ctx context.Context, img *image.Image, tags []image.Reference) error {
	config, err := img.Config.Encode()
	if err != nil {
		return err
	}
	rec, err := m.store.Add(ctx, store.Record{Layers: img.Layers, Annotations: img.Annotations, Origin: store.FromRecipe, Made: time.Now()}, config)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if _, err := m.store.Tag(ctx, store.Name{Reference: tag, ID: rec.ID, Platform: rec.Platform}); err != nil {
			return err
		}
	}
	return nil
}
