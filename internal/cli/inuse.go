package cli

import (
	"context"
	"errors"
	"fmt"

	"builder/image"
	"builder/image/store"
	"builder/internal/container"
)

// inUseError says which container needs an image.
type inUseError struct {
	id      image.Digest
	by      string // the container's ID in its short form
	running bool
}

// Error is worded as docker's.
func (e *inUseError) Error() string {
	if e.running {
		return fmt.Sprintf("conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", e.id.Encoded()[:12], e.by)
	}
	return fmt.Sprintf("conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", e.id.Encoded()[:12], e.by)
}

// removeImage removes a name or an image, but no image that a container needs: by
// force it loses its names where the containers are stopped.
func (m *machine) removeImage(ctx context.Context, text string, o store.RemoveOptions) (store.Removed, error) {
	all, err := m.containers().List()
	if err != nil {
		return store.Removed{}, err
	}
	o.InUse = func(id image.Digest) error { return usedBy(all, id) }
	removed, err := m.store.Remove(ctx, text, o)
	if used, ok := errors.AsType[*inUseError](err); ok && o.Force && !used.running {
		o.InUse, o.KeepUntagged = nil, true
		return m.store.Remove(ctx, text, o)
	}
	return removed, err
}

// usedBy is an error if one of the containers was made of an image; of several
// one that runs is named.
func usedBy(all []*container.Container, id image.Digest) error {
	var found *inUseError
	for _, c := range all {
		if c.Image == id && (found == nil || !found.running) {
			found = &inUseError{id: id, by: c.ShortID(), running: c.Status == container.Running}
		}
	}
	if found == nil {
		return nil
	}
	return found
}
