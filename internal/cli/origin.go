package cli

import (
	"context"
	"errors"
	"fmt"

	"builder/image"
	"builder/image/store"
	"builder/internal/diag"
	"builder/internal/progress"
	"builder/internal/pull"
	"builder/planner"
)

// claim names an image that no recipe made. A name that a recipe's build made is
// taken over by force only, and then it is said what it was.
func (m *machine) claim(ctx context.Context, rec store.Record, tags []image.Reference, force bool) error {
	for _, tag := range tags {
		name := store.Name{Reference: tag, ID: rec.ID, Platform: rec.Platform}
		if rec.Origin == store.FromRecipe {
			if _, err := m.store.Tag(ctx, name); err != nil {
				return err
			}
			continue
		}
		_, err := m.store.Claim(ctx, name)
		taken, ok := errors.AsType[*store.RecipeError](err)
		switch {
		case ok && !force:
			return usage("%v; an image from %s does not take its name", taken, origins[rec.Origin]).
				WithHint("choose another name, or --force")
		case ok:
			if _, err := m.store.Tag(ctx, name); err != nil {
				return err
			}
			fmt.Fprintf(m.err, "%s was %s, which a recipe made; it is %s from %s now\n", tag.Familiar(), taken.ID, rec.ID, origins[rec.Origin])
		case err != nil:
			return err
		}
	}
	return nil
}

// origins are the words for where an image came from.
var origins = map[store.Origin]string{
	store.FromPull: "a registry", store.FromImport: "an import", store.FromLoad: "an archive", store.FromCommit: "a commit",
}

// judge warns of a base that cannot be had again, and of a name that may mean
// another one tomorrow.
func (r resolver) judge(w planner.Wanted, img pull.Image) error {
	if from, ok := committed(img); ok {
		e := diag.Errorf(w.Span, "base %s was committed from a container%s: no recipe makes it again", w.Reference.Familiar(), from)
		if r.requireRecipe {
			return e.WithHint("build it from a recipe, or leave out --require-recipe")
		}
		r.sink.Progress(progress.Warning{Text: diag.Text(e)})
	}
	if w.Reference.Digest() == "" && w.Reference.Tag() == image.DefaultTag {
		pinned, err := w.Reference.WithOnlyDigest(img.Digest)
		if err != nil {
			return err
		}
		e := diag.Errorf(w.Span, "%s may mean another image tomorrow", w.Reference.Familiar()).
			WithHint("what it means today is %s", pinned.Familiar())
		r.sink.Progress(progress.Warning{Text: diag.Text(e)})
	}
	return nil
}

// committed reports whether an image, or one that it was built on, was made by
// commit, and of what.
func committed(img pull.Image) (from string, ok bool) {
	for _, labels := range []map[string]string{img.Config.Config.Labels, img.Record.Annotations} {
		if id, ok := labels[image.LabelCommit]; ok {
			return " of " + id, true
		}
	}
	return "", img.Record.Origin == store.FromCommit
}
