package executor

import (
	"context"
	"errors"

	"builder/image"
	"builder/image/layer"
	"builder/planner"
)

// squashed is the tree t with one layer in the place of all that steps have made,
// and the result with a history that says so. What a step made and a later one
// removed is in it no more.
func (r *run) squashed(ctx context.Context, t tree, of planner.Result) (_ tree, _ planner.Result, err error) {
	if len(t.chain)-t.base < 2 {
		return t, of, nil
	}
	below, above := r.Depot.Files(t.chain[:t.base]), r.Depot.Files(t.chain)
	defer func() { err = errors.Join(err, below.Close(), above.Close()) }()
	was, err := below.View(ctx)
	if err != nil {
		return t, of, err
	}
	is, err := above.View(ctx)
	if err != nil {
		return t, of, err
	}
	ix, err := layer.Difference(was, is)
	if err != nil {
		return t, of, err
	}
	one := tree{chain: append(t.chain[:t.base:t.base], ix.Content()), base: t.base}
	if _, err := r.Depot.WriteTar(ctx, ix, above, r.stamps(one, of.Base)); err != nil {
		return t, of, err
	}
	history := make([]image.History, len(of.Config.History), len(of.Config.History)+1)
	copy(history, of.Config.History)
	for i := of.BaseHistory; i < len(history); i++ {
		history[i].EmptyLayer = true
	}
	of.Config.History = append(history, image.History{Comment: "squashed"})
	return one, of, nil
}
