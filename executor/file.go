package executor

import (
	"context"
	"errors"

	"builder/cache"
	"builder/executor/fileop"
	"builder/image"
	"builder/image/layer"
	"builder/planner"
)

// selected is what a copy takes from its source: chosen once, used for the key
// and for the copy.
type selected struct {
	selection *fileop.Selection
	source    layer.Source
	close     func() error
}

// copyWork says how a COPY or ADD is answered. The source is looked up by its
// whole tree first where that is known without looking (a stage, an image), and
// then by what is selected.
func (r *run) copyWork(w *work, op planner.Copy, from []*result) {
	ops := op.Parts()
	root := w.root.chain
	if op.Link {
		root = nil
	}
	var chosen []*selected
	choose := func(ctx context.Context) error {
		for i := len(chosen); i < len(ops); i++ {
			c, err := r.choose(ctx, w.step, ops[i], from[i], i)
			if err != nil {
				return err
			}
			chosen = append(chosen, c)
		}
		return nil
	}
	if len(ops) == 1 && from[0].files == nil {
		w.wide = copyParts(op, root, func(p *parts) {
			p.chain("source", from[0].chain)
			p.list("pattern", op.Sources)
			if op.Include != nil {
				p.list("include", op.Include)
			}
			if len(op.Exclude) > 0 {
				p.list("exclude", op.Exclude)
			}
		})
	}
	if len(op.Sources) > 0 {
		w.narrow = func(ctx context.Context) (cache.Parts, error) {
			if err := choose(ctx); err != nil {
				return nil, err
			}
			return copyParts(op, root, func(p *parts) { p.selections(ops, chosen) }), nil
		}
	}
	w.build = func(ctx context.Context) (image.ContentDigest, error) {
		if err := choose(ctx); err != nil {
			return image.ContentDigest{}, err
		}
		return r.copy(ctx, w, op, chosen)
	}
	w.close = func() error {
		var err error
		for _, c := range chosen {
			err = errors.Join(err, c.close())
		}
		return err
	}
}

// choose resolves the patterns of part n of a copy and hashes what they select,
// where that is not known.
func (r *run) choose(ctx context.Context, s *planner.Step, op planner.Copy, from *result, n int) (*selected, error) {
	if len(op.Sources) == 0 {
		return &selected{selection: &fileop.Selection{}, close: func() error { return nil }}, nil
	}
	if from.files != nil {
		selection, err := fileop.Select(op, from.files)
		if err != nil {
			return nil, err
		}
		err = from.files.Digest(ctx, selection.Entries())
		return &selected{selection: selection, source: from.files, close: func() error { return nil }}, err
	}
	if _, err := r.fetch(ctx, s.Inputs[1+n]); err != nil {
		return nil, err
	}
	files := r.Depot.Files(from.chain)
	view, err := files.View(ctx)
	if err == nil {
		var selection *fileop.Selection
		if selection, err = fileop.Select(op, view); err == nil {
			return &selected{selection: selection, source: files, close: files.Close}, nil
		}
	}
	return nil, errors.Join(err, files.Close())
}

// copy makes the layer of a COPY or ADD.
func (r *run) copy(ctx context.Context, w *work, op planner.Copy, chosen []*selected) (image.ContentDigest, error) {
	var more []fileop.Chosen
	for _, c := range chosen[1:] {
		more = append(more, fileop.Chosen{Selection: c.selection, Source: c.source})
	}
	onto := w.root.tree
	if op.Link {
		onto = tree{}
	}
	return r.change(ctx, w, onto, func(dst fileop.Tree) (*fileop.Result, error) {
		return fileop.Copy(ctx, op, chosen[0].selection, dst, fileop.CopyOptions{Source: chosen[0].source, More: more, Now: now(), Temp: r.Temp})
	})
}

// mkdir makes the layer of a WORKDIR.
func (r *run) mkdir(ctx context.Context, w *work, op planner.Mkdir) (image.ContentDigest, error) {
	return r.change(ctx, w, w.root.tree, func(dst fileop.Tree) (*fileop.Result, error) {
		return fileop.Mkdir(ctx, op, dst, now())
	})
}

// change computes a layer over what is in onto, the step's root or nothing, and
// writes it: as a tar where nobody will read its files soon, as a tree elsewhere.
func (r *run) change(ctx context.Context, w *work, onto tree, compute func(fileop.Tree) (*fileop.Result, error)) (content image.ContentDigest, err error) {
	if _, err := r.fetch(ctx, w.ref); err != nil {
		return content, err
	}
	if !r.tars[w.ref] {
		// The tree below will be needed: made first, it brings the indexes with it.
		if _, err := r.Depot.Tree(ctx, w.root.chain); err != nil {
			return content, err
		}
	}
	below := r.Depot.Files(onto.chain)
	defer func() { err = errors.Join(err, below.Close()) }()
	view, err := below.View(ctx)
	if err != nil {
		return content, err
	}
	made, err := compute(fileop.Tree{View: view, Files: below, Base: onto.base})
	if err != nil {
		return content, err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	content = made.Index.Content()
	if !r.tars[w.ref] {
		_, err = r.Depot.WriteTree(ctx, w.root.chain, made.Index, made)
		return content, err
	}
	_, err = r.Depot.WriteTar(ctx, made.Index, made, r.stamps(w.root.with(w.step, content), r.begins[w.ref]))
	return content, err
}
